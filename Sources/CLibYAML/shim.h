#ifndef MATRIARCH_CLIBYAML_SHIM_H
#define MATRIARCH_CLIBYAML_SHIM_H

#include <yaml.h>

#endif
