#!/bin/busybox sh
# The init of the emulated machine: file systems, modules, tests, off. `initramfs.rs` puts this file together with what it runs.
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t bpf bpf /sys/fs/bpf
busybox mount -t tmpfs run /run
echo "== begin"
for module in $(busybox cat /modules/order); do
    busybox insmod "/modules/$module" || echo "insmod $module failed"
done
# A test program that crashed says no result.
run() {
    start=$(busybox cut -d. -f1 /proc/uptime)
    echo "== $*"
    "$@" --test-threads=1
    status=$?
    echo "== $(($(busybox cut -d. -f1 /proc/uptime) - start)) s, status $status"
    case $status in 0 | 101) ;; *) echo "test result: FAILED. 0 passed; 1 failed; 0 ignored; it crashed" ;; esac
}

run kernels --show-output --skip health
# What is counted in millions takes too long here.
export LIMITER_BESIDE_FRAMES=10000
# bpftool is this machine's, not the kernel's.
run packets --skip bpftool --skip to_the_last_entry
run limits --show-output driver:: --skip packet_socket
# From here on the lab's wires are NICs. What it needs of them `guest.rs` says.
export LAB_WIRE=nic
# Live frames are beyond 6.1's driver (`tests/lab/src/socket.rs`).
case $(busybox uname -r) in 6.1.*) run limits --show-output driver:: --skip a_flood ;; *) run limits --show-output driver:: ;; esac
run kernels --exact --include-ignored health::the_kernel_has_not_warned
[ $status = 0 ] || busybox dmesg | busybox tail -n 80
echo "== end"
busybox poweroff -f
