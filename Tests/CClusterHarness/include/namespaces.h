// Network namespaces of Linux: calls that Swift's Glibc module does not show.
#pragma once

/// Moves the calling thread into a new network namespace; a descriptor of it, or -1 and errno.
int ch_new_network_namespace(void);

/// A descriptor of the calling thread's network namespace, or -1 and errno.
int ch_network_namespace(void);

/// Moves the calling thread into a network namespace; 0, or -1 and errno.
int ch_enter_network_namespace(int descriptor);

/// Mounts a tmpfs of so many bytes that belongs to a user; 0, or -1 and errno.
int ch_mount_small_disk(const char *path, unsigned long long bytes, unsigned int user, unsigned int group);

/// Unmounts, detaching what is busy; 0, or -1 and errno.
int ch_unmount(const char *path);
