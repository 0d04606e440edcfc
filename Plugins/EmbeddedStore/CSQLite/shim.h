#ifndef MATRIARCH_CSQLITE_H
#define MATRIARCH_CSQLITE_H

#include <sqlite3.h>
#include <sys/statfs.h>
#include <sys/timerfd.h>

/* SQLITE_TRANSIENT is a cast that Swift does not import: the library copies what is bound. */
static inline int matriarch_bind_text(sqlite3_stmt *statement, int index, const char *bytes, unsigned long long count)
{
    return sqlite3_bind_text64(statement, index, bytes, count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static inline int matriarch_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, unsigned long long count)
{
    return sqlite3_bind_blob64(statement, index, bytes, count, SQLITE_TRANSIENT);
}

#endif
