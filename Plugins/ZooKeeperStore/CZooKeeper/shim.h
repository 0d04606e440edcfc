// What Swift needs of ZooKeeper's C client. THREADED says that the library linked is the one with threads.
#ifndef MATRIARCH_CZOOKEEPER_H
#define MATRIARCH_CZOOKEEPER_H

#ifndef THREADED
#define THREADED
#endif
#include <zookeeper/zookeeper.h>

#endif
