#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The real tool and the stock savecore(8), in a guest that has a FreeBSD
# root. Run by init, in its language (rt.h).
#
#	userland.sh main	with the module, then without it
#	userland.sh secured	at securelevel 1, with it
#	userland.sh direct	beside another kernel's memory

. /userland-says.sh
. /userland-dumps.sh
. /userland-kernels.sh
. /userland-hosts.sh
. /userland-confined.sh
. /userland-keeping.sh
. /userland-direct.sh
. /userland-elsewhere.sh
. /userland-install.sh

# Each way to name the directory, and the letters of savecore(8). The plain
# one is the last: what the kernel's own facility left NODUMP is missing in it.
captures() {
	cd $crash
	take capture-gzip .gz livedump capture -z && read_back gzip && remove
	cd /
	take capture-zstd .zst livedump -L -Z $crash && read_back zstd &&
	    damaged && remove
	frozen
	cd /scratch
	take capture-plain "" livedump capture crash && read_back plain && remove
	cd /
}

with_module() {
	! has livedump || nodes
	kenv kern.livedump.kerneldump=1 >/dev/null
	run kldload 0 kldload /livedump.ko
	if has savecore; then
		done_=$(sysctl -n kern.livedump.completed)
		three savecore savecore -L
		expect "savecore -L is served by the module" \
		    $(sysctl -n kern.livedump.completed) $((done_ + 3))
	fi
	has livedump || return
	captures
	looked_up
	kept_kernel
	doctor module 0 "^ok  *module  *livedump $(sysctl -n kern.livedump.version) is loaded" \
	    "^ok  *facility  *the module is loaded and dumps" \
	    "^ok  *gzip" "^ok  *zstd"
	doctor_of_host
	starved module
	interrupted SIGINT INT 4 20000
	interrupted SIGTERM TERM 4 20000
	asked
	full_disks module -f -fZ
	limited module
	unprivileged
	capability_mode
	estimated
	watched
	reopened
	listed
	piped
	saved
	on_a_device
	encrypted
	over_the_network
	rescue_of_module
	run kldunload 0 kldunload livedump
}

# The kernel's own facility, where it has one.
without_module() {
	if has savecore; then
		three stock-savecore savecore -L
	fi
	has livedump || return
	doctor "no module" 0 "^warning  *module  *livedump.ko is neither" \
	    "^warning  *facility  *the stock live dump" "try: kldload livedump"
	# Up to 14.2 it lacks most of the memory, and livedump finds that.
	damaged=0
	[ $(sysctl -n kern.osreldate) -gt 1402000 ] || damaged=1
	takes $damaged stock-capture-plain "" livedump capture $crash &&
	    dumped_by /dev/mem && remove
	# That is packed as one piece: its lists are not walked.
	takes 3 stock-capture-zstd .zst livedump capture -Z $crash &&
	    { [ $damaged = 1 ] || read_back "stock dump"; } && remove
	run "stock, what it could do" $damaged livedump capture -v --json $crash
	said "stock, what it could do" "cannot be interrupted"
	[ $damaged = 1 ] || said "stock, what it could do" '"lists": *true'
	remove_next
	run "stock, what it could not do" 3 livedump capture -vz $crash
	said "stock, what it could not do" "lists were not walked: .*index"
	remove_next
	# A jail has a securelevel of its own.
	in_jail "livedump doctor $crash" securelevel=1
	said "doctor, stock, at securelevel 1" \
	    "^warning  *securelevel  *is 1: dumps work"
	said "doctor, stock, at securelevel 1" "^status 0"
	in_jail "livedump capture -qZ $crash" securelevel=1
	said "stock, at securelevel 1" "^status 3"
	remove_next
	before=$(ls -A $crash)
	run "--registers, no module" 2 livedump capture --registers $crash
	said "--registers, no module" "need the module"
	nothing_left "--registers, no module" $crash "$before"
	run "--freeze, no module" 2 livedump capture --freeze $crash
	said "--freeze, no module" "need the module"
	nothing_left "--freeze, no module" $crash "$before"
	rescue_refused
	interrupted "SIGINT, stock facility" INT 60 2000
	starved "stock facility"
	# It tries five times.
	full_disks "stock facility" -f
	limited "stock facility"
	hidden
}

main() {
	hostname guest.example.org
	mkdir $crash
	with_module
	without_module
	installed
}

secured() {
	at=49152
	has livedump || return
	kldstat -q -n livedump.ko || kldload /livedump.ko
	[ $(sysctl -n kern.securelevel) -ge 1 ] || sysctl kern.securelevel=1 \
	    >/dev/null
	doctor securelevel 0 "^ok  *securelevel  *is [1-9]: dumps work"
	run "securelevel: kldunload" 1 kldunload livedump
	take secured-zstd .zst livedump capture -Z $crash
	savecore -L $crash >$log 2>&1
	echo "FACT savecore-at-securelevel-1 status $?, files" $(ls $crash)
}

$1
exit 0
