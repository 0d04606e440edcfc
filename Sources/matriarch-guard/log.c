// One line to stderr (guard.log): the wall time, the pid, the text. Written after what it tells of was done.
#define _GNU_SOURCE
#include "guard.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void note(const char *format, ...) {
    char line[1024];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    // Not localtime: that reads files and allocates.
    gmtime_r(&now.tv_sec, &parts);
    int used = snprintf(
        line, sizeof line, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ guard[%d] ", parts.tm_year + 1900, parts.tm_mon + 1,
        parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1000000, (int)getpid());
    va_list arguments;
    va_start(arguments, format);
    int added = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    if (added < 0) return;
    used += added;
    if (used > (int)sizeof line - 2) used = (int)sizeof line - 2;
    line[used++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)used);
    (void)ignored;
}
