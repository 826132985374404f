#!/bin/busybox sh
# The init of the emulated machine: file systems, modules, tests, off. `initramfs.rs` puts this file together with what
# it runs. A line `skipped: WHAT: WHY` is counted.
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

# Debian's kernels take components of dispatchers.
export LIMITER_BIN=/bin/limiter LIMITER_COMPONENTS=yes
case $(busybox uname -r) in
6.1.*)
    echo "skipped: kernels dispatcher:: limiter beside others: 6.12 refuses more of it, and it takes minutes here"
    run kernels --show-output --skip dispatcher
    ;;
*) run kernels --show-output ;;
esac
# What is counted in millions takes too long here.
export LIMITER_BESIDE_FRAMES=10000 LIMITER_GARBAGE_FRAMES=200
echo "skipped: packets object:: bpftool: it is the first machine's, not the kernel's"
echo "skipped: packets full:: to_the_last_entry: a third of a million entries take too long here"
run packets --skip bpftool --skip to_the_last_entry
export LIMITER_ROOM_CONNECTIONS=40
run limits --show-output driver:: room::who_is_refused
# From here on the lab's wires are NICs. What it needs of them `guest.rs` says.
export LAB_WIRE=nic
case $(busybox uname -r) in
6.1.*)
    # `tests/lab/src/socket.rs`
    echo "skipped: limits driver:: a flood over NICs: live frames are beyond this kernel's driver"
    export LAB_LIVE_FRAMES=no
    ;;
esac
run limits --show-output driver::
tainted=$(busybox cat /proc/sys/kernel/tainted)
# 128: it died somewhere; 512: it warned.
[ $((tainted & 640)) = 0 ] || busybox dmesg | busybox tail -n 80
echo "tainted $tainted"
echo "== end"
busybox poweroff -f
