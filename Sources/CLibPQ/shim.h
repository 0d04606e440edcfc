#ifndef MATRIARCH_CLIBPQ_SHIM_H
#define MATRIARCH_CLIBPQ_SHIM_H

#include <libpq-fe.h>

#endif
