# SPDX-License-Identifier: BSD-2-Clause
#
# Which kernel a dump is read with, and the one that is kept beside it.

bootfile=$(sysctl -n kern.bootfile)
debug=/usr/lib/debug$bootfile.debug

# reads CASE KERNEL OPTION...: each reader finds it.
reads() {
	which=$1 found=$2
	shift 2
	run "$which: info" 0 livedump info "$@" $dump
	live "$which: ps" livedump ps --json "$@" $dump
	said "$which: ps" "\"kernel\": *\"$found\""
	run "$which: dmesg" 0 livedump dmesg -a "$@" $dump
	said "$which: dmesg" $marker
	live "$which: verify" livedump verify --json "$@" $dump
	said "$which: verify" "\"kernel\": *\"$found\""
}

# Nothing in /boot but what is put there. (UFS that covers tmpfs, and tmpfs
# that covers UFS, are two orders of locks: tmpfs always covers.)
empty_boot() {
	mount -t tmpfs tmpfs /boot
}

# The kernel is found where it was booted from, and elsewhere below /boot;
# another one's file is not taken for it.
looked_up() {
	take lookup-plain "" livedump capture $crash || return
	reads "kern.bootfile" $bootfile
	cp $kernel /scratch/kernel
	empty_boot
	run "no kernel: ps" 2 livedump ps $dump
	said "no kernel: ps" "no kernel file found"
	run "no kernel: info" 0 livedump info $dump
	mkdir /boot/kernel.old
	cp /scratch/kernel /boot/kernel.old/kernel
	reads "kernel.old" /boot/kernel.old/kernel
	mkdir /boot/mine
	mv /boot/kernel.old/kernel /boot/mine/kernel
	echo none >/boot/kernel.old/kernel
	reads "another below /boot" /boot/mine/kernel
	umount /boot
	remove
	rm /scratch/kernel
}

# --keep-kernel: the files of the kernel that runs lie beside the dump, and
# are enough to read it.
kept_kernel() {
	name=keep-kernel
	n=$(cat $crash/bounds)
	dump=$crash/livecore.$n info=$crash/info.$n
	run $name 0 livedump capture --keep-kernel $crash
	run "$name: the kernel" 0 cmp $bootfile $crash/kernel.$n
	expect "$name: mode" "$(stat -f %Lp $crash/kernel.$n)" 600
	expect "$name: link" "$(readlink $crash/kernel.last)" kernel.$n
	if [ -e $debug ]; then
		run "$name: the debug file" 0 cmp $debug $crash/kernel.debug.$n
	else
		echo "SKIP $name: the debug file: the kernel has none"
	fi
	reads "$name" $crash/kernel.$n
	empty_boot
	reads "$name, /boot is empty" $crash/kernel.$n
	run "$name: deadlock" 0 livedump deadlock $dump
	umount /boot
	rm -f $crash/kernel.*
	remove
}
