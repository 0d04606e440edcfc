#define _GNU_SOURCE
#include "namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int ch_network_namespace(void) { return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC); }

int ch_new_network_namespace(void) {
    if (unshare(CLONE_NEWNET) != 0) return -1;
    return ch_network_namespace();
}

int ch_enter_network_namespace(int descriptor) { return setns(descriptor, CLONE_NEWNET); }

int ch_mount_small_disk(const char *path, unsigned long long bytes, unsigned int user, unsigned int group) {
    char options[128];
    snprintf(options, sizeof options, "size=%llu,mode=0700,uid=%u,gid=%u", bytes, user, group);
    return mount("matriarch-test", path, "tmpfs", MS_NOSUID | MS_NODEV, options);
}

int ch_unmount(const char *path) { return umount2(path, MNT_DETACH); }
