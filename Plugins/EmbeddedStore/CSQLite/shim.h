#ifndef MATRIARCH_CSQLITE_H
#define MATRIARCH_CSQLITE_H

#include <sqlite3.h>

#endif
