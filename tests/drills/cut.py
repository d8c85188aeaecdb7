"""Stops an ext4 file system as a power cut would: EXT4_IOC_SHUTDOWN without a flush of its log.

Usage: cut.py MOUNT_POINT. What was not durable is gone once the file system is unmounted.
"""

import fcntl
import os
import struct
import sys

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2

folder = os.open(sys.argv[1], os.O_RDONLY)
try:
    fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
except OSError as error:
    sys.exit(f"{error.strerror}")
