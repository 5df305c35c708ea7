#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The real tool and the stock savecore(8), in a guest that has a FreeBSD
# root. Run by init, in its language (rt.h).
#
#	userland.sh main	without the module, then with it
#	userland.sh secured	at securelevel 1

crash=/scratch/crash
kernel=/boot/kernel/kernel
log=/tmp/log
# Where files go on the output disk, in megabytes: behind init's own.
at=32768
marker=livedump-marker-7261

# -- saying

# expect CASE GOT WANT
expect() {
	if [ "$2" = "$3" ]; then
		echo "PASS $1"
	else
		echo "FAIL $1: got '$2', want '$3'"
		tail -n 5 $log | sed 's/^/    /'
	fi
}

# run CASE STATUS COMMAND...; what it says goes to $log.
run() {
	case_=$1 want=$2
	shift 2
	"$@" >$log 2>&1
	expect "$case_: exit status" $? $want
}

# said CASE WORDS: the last command said so.
said() {
	grep -q -- "$2" $log
	expect "$1: it says '$2'" $? 0
}

# has PROGRAM: or its cases are skipped.
has() {
	command -v $1 >/dev/null && return 0
	echo "SKIP $1: not in this root"
	return 1
}

# bring FILE NAME: to the output disk.
bring() {
	size=$(stat -f %z $1)
	if ! dd if=$1 of=/dev/vtbd0 bs=1m oseek=$at conv=sync,notrunc \
	    2>$log; then
		expect "$2: bringing it out" 1 0
		return
	fi
	echo "DUMP $2 $((at * 1048576)) $size"
	at=$((at + (size + 1048575) / 1048576))
}

# -- dumps

# take NAME SUFFIX COMMAND...: a dump with all that belongs to it.
take() {
	name=$1 suffix=$2
	shift 2
	n=$(cat $crash/bounds 2>/dev/null || echo 0)
	dump=$crash/livecore.$n$suffix
	info=$crash/info.$n
	run $name 0 "$@"
	if [ ! -s $dump ] || [ ! -s $info ]; then
		expect "$name: files" "$(echo $(ls $crash))" \
		    "livecore.$n$suffix info.$n"
		return 1
	fi
	expect "$name: modes" "$(echo $(stat -f %Lp $dump $info))" "600 600"
	expect "$name: links" "$(echo $(readlink \
	    $crash/livecore.last$suffix $crash/info.last))" \
	    "livecore.$n$suffix info.$n"
	expect "$name: bounds" $(cat $crash/bounds) $((n + 1))
	expect "$name: temporary files" "$(ls $crash | grep tmp)" ""
	case $suffix in
	.gz) run "$name: gzip -t" 0 gzip -t $dump ;;
	.zst) run "$name: zstd -t" 0 zstd -q -t $dump ;;
	esac
	bring $dump $name
	sed "s/^/INFO $name /" $info
}

# remove: the last dump
remove() {
	rm -f $crash/livecore.$n* $crash/info.$n $crash/seal.$n
}

# three KIND COMMAND...: plain, gzip, zstd, by letters.
three() {
	kind=$1
	shift
	take $kind-plain "" "$@" $crash && remove
	take $kind-gzip .gz "$@" -z $crash && remove
	take $kind-zstd .zst "$@" -Z $crash && remove
}

# What the tool, libkvm's programs and the running kernel say of a dump.
read_back() {
	what=$1
	run "$what: info" 0 livedump info $dump
	said "$what: info" "amd64, minidump version 3"
	run "$what: verify" 0 livedump verify -k $kernel $dump
	run "$what: dmesg" 0 livedump dmesg -a -k $kernel $dump
	said "$what: dmesg" $marker
	hz=$(sysctl -n kern.hz)
	run "$what: read" 0 livedump read -k $kernel $dump hz 4
	said "$what: read" "$(printf '%02x %02x 00 00' $((hz % 256)) \
	    $((hz / 256)))"
	[ -z "$suffix" ] || return 0
	run "$what: dmesg -M" 0 dmesg -a -M $dump -N $kernel
	said "$what: dmesg -M" $marker
	run "$what: ps -M" 0 ps -M $dump -N $kernel -ax -o pid,comm
	said "$what: ps -M" "1 init"
}

# nothing_left CASE DIRECTORY BEFORE
nothing_left() {
	expect "$1: nothing is left" "$(ls -A $2)" "$3"
}

# interrupted CASE SECONDS: SIGINT in the middle; how long it may go on.
interrupted() {
	before=$(ls -A $crash)
	sysctl debug.ldtest.delay_us=2000 >/dev/null
	start=$(date +%s)
	run "$1" 2 timeout -p -s INT 2 livedump capture $crash
	took=$(($(date +%s) - start))
	sysctl debug.ldtest.delay_us=0 >/dev/null
	said "$1" "stopped by SIGINT"
	nothing_left "$1" $crash "$before"
	expect "$1: within $2 seconds ($took)" $((took <= $2)) 1
}

# asked: SIGINFO in the middle, which only asks.
asked() {
	sysctl debug.ldtest.delay_us=2000 >/dev/null
	livedump capture $crash >$log 2>&1 &
	confined=no
	for i in 1 2 3 4 5 6 7 8 9 10; do
		sleep 1
		# ps(1): C is capability mode.
		case $(ps -o state= -p $! 2>/dev/null) in
		*C*) confined=yes ;;
		esac
		kill -INFO $! 2>/dev/null || break
		grep -q "data pages" $log && break
	done
	sysctl debug.ldtest.delay_us=0 >/dev/null
	wait $!
	expect "SIGINFO: exit status" $? 0
	said SIGINFO "writing data pages: .* %"
	expect "SIGINFO: capability mode" $confined yes
	rm -f $crash/livecore.[0-9]* $crash/info.[0-9]* $crash/seal.[0-9]*
}

# full CASE OPTION: a dump that fills /tmp/small, and goes again.
full() {
	before=$(ls -A /tmp/small)
	run "$1" 2 livedump capture $2 /tmp/small
	said "$1" "No space left on device"
	nothing_left "$1" /tmp/small "$before"
	free=$(df -m /tmp/small | awk 'END { print $4 }')
	expect "$1: the room is free again" $((free >= 2)) 1
}

# full_disks CASE OPTION...: with each of the options.
full_disks() {
	mkdir -p /tmp/small
	mount -t tmpfs -o size=4m tmpfs /tmp/small
	for option in "$@"; do
		full "full tmpfs, $option" $option
	done
	umount /tmp/small
	md=$(mdconfig -a -t swap -s 6m)
	newfs -U /dev/$md >$log 2>&1 && mount /dev/$md /tmp/small
	for option in "$@"; do
		full "full UFS, $option" $option
	done
	run "no room" 2 livedump capture /tmp/small
	said "no room" "no dump taken"
	umount /tmp/small
	mdconfig -d -u $md
}

# Those who may not.
strangers() {
	mkdir -m 0777 /tmp/nobody
	daemon -u nobody -o $log sh -c \
	    "livedump capture /tmp/nobody; echo status \$?"
	for i in 1 2 3 4 5 6 7 8 9 10; do
		grep -q ^status $log && break
		sleep 1
	done
	said nobody "Permission denied"
	said nobody "status 2"
	nothing_left nobody /tmp/nobody ""
	before=$(ls -A $crash)
	run "in a jail" 1 jail -c path=/ \
	    command=/usr/sbin/livedump capture $crash
	said "in a jail" "Operation not permitted"
	nothing_left "in a jail" $crash "$before"
}

# -- phases

# The kernel's own facility, where it has one.
without_module() {
	if has savecore; then
		three stock-savecore savecore -L
	fi
	has livedump || return
	take stock-capture-plain "" livedump capture $crash && remove
	take stock-capture-zstd .zst livedump capture -Z $crash &&
	    read_back "stock dump" && remove
	interrupted "SIGINT, stock facility" 60
	# It tries five times.
	mkdir -p /tmp/small
	mount -t tmpfs -o size=4m tmpfs /tmp/small
	full "full tmpfs, stock facility" -v
	umount /tmp/small
}

# Each way to name the directory, and the letters of savecore(8).
captures() {
	cd /scratch
	take capture-plain "" livedump capture crash && read_back plain && remove
	cd $crash
	take capture-gzip .gz livedump capture -z && read_back gzip && remove
	cd /
	take capture-zstd .zst livedump -L -Z $crash && read_back zstd && remove
}

with_module() {
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
	echo 1000000000 >$crash/minfree
	before=$(ls -A $crash)
	run minfree 2 livedump capture $crash
	said minfree "are to stay so"
	nothing_left minfree $crash "$before"
	rm $crash/minfree
	interrupted SIGINT 4
	asked
	full_disks -f -fZ
	strangers
}

main() {
	hostname guest.example.org
	mkdir $crash
	without_module
	with_module
}

secured() {
	at=49152
	has livedump || return
	[ $(sysctl -n kern.securelevel) -ge 1 ] || sysctl kern.securelevel=1 \
	    >/dev/null
	take secured-zstd .zst livedump capture -Z $crash
	savecore -L $crash >$log 2>&1
	echo "FACT savecore-at-securelevel-1 status $?, files" $(ls $crash)
}

$1
exit 0
