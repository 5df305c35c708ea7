# SPDX-License-Identifier: BSD-2-Clause
#
# Dumps that are taken, and those that are not.

# take NAME SUFFIX COMMAND...: a dump with all that belongs to it.
take() {
	takes 0 "$@"
}

# takes STATUS NAME SUFFIX COMMAND...: the same with that exit status.
takes() {
	status=$1 name=$2 suffix=$3
	shift 3
	n=$(cat $crash/bounds 2>/dev/null || echo 0)
	dump=$crash/livecore.$n$suffix
	info=$crash/info.$n
	run "$name" $status "$@"
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
	# What cannot be told is neither good nor bad.
	case $status in
	1) echo "FACT dump-status-$name bad" ;;
	3) echo "FACT dump-status-$name unknown" ;;
	esac
	bring $dump $name
	sed "s/^/INFO $name /" $info
}

# remove: the last dump
remove() {
	rm -f $crash/livecore.$n* $crash/info.$n $crash/seal.$n
}

# remove_next: the one whose number was not asked for
remove_next() {
	n=$(($(cat $crash/bounds) - 1))
	remove
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
	live "$what: verify" livedump verify -k $kernel $dump
	said "$what: verify" "^ok  *seal "
	run "$what: dmesg" 0 livedump dmesg -a -k $kernel $dump
	said "$what: dmesg" $marker
	hz=$(sysctl -n kern.hz)
	run "$what: read" 0 livedump read -k $kernel $dump hz 4
	said "$what: read" "$(printf '%02x %02x 00 00' $((hz % 256)) \
	    $((hz / 256)))"
	live "$what: ps" livedump ps -k $kernel $dump
	said "$what: ps" "^ *1 .* init$"
	[ -z "$suffix" ] || return 0
	run "$what: dmesg -M" 0 dmesg -a -M $dump -N $kernel
	said "$what: dmesg -M" $marker
	run "$what: ps -M" 0 ps -M $dump -N $kernel -ax -o pid,comm
	said "$what: ps -M" "1 init"
}

# A dump of one instant; the tool is in capability mode when it asks for it.
frozen() {
	take capture-frozen .zst livedump capture --freeze --max-pause 1s -Z \
	    $crash || return
	expect "frozen: info.N" $(grep -c "^  Paused: .* by [0-9]* CPU" $info) 1
	read_back frozen
	run "frozen: info" 0 livedump info $dump
	said "frozen: info" "one instant"
	remove
}

# damaged: the last dump, with some bytes that are others.
damaged() {
	middle=$(($(stat -f %z $dump) / 2))
	printf livedump |
	    dd of=$dump bs=1 oseek=$middle conv=notrunc 2>/dev/null
	run damaged 1 livedump verify $dump
	set -- $(sed -n 's/^FAIL *seal *bytes \([0-9]*\) to \([0-9]*\)[^0-9].*/\1 \2/p' \
	    $log)
	expect "damaged: byte $middle is in $1 to $2" \
	    $((${1:-1} <= middle && middle <= ${2:-0})) 1
}

# interrupted CASE SIGNAL SECONDS PACE: in the middle; how long it may go on.
interrupted() {
	before=$(ls -A $crash)
	pace $4
	start=$(date +%s)
	run "$1" 2 timeout --preserve-status -s $2 2 livedump capture $crash
	took=$(($(date +%s) - start))
	pace 0
	said "$1" "stopped by SIG$2"
	nothing_left "$1" $crash "$before"
	expect "$1: within $3 seconds ($took)" $((took <= $3)) 1
}

# informed: how far it is.
informed() {
	# ps(1): C is capability mode.
	case $(ps -o state= -p $1 2>/dev/null) in
	*C*) confined=yes ;;
	esac
	kill -INFO $1 2>/dev/null || return 0
	grep -q "data pages" $log
}

# asked: SIGINFO in the middle, which only asks.
asked() {
	pace 5000
	livedump capture $crash >$log 2>&1 &
	confined=no
	await informed $!
	pace 0
	wait $!
	expect "SIGINFO: exit status" $? 0
	said SIGINFO "writing data pages: .* %"
	expect "SIGINFO: capability mode" $confined yes
	rm -f $crash/livecore.[0-9]* $crash/info.[0-9]* $crash/seal.[0-9]*
}

# full CASE OPTION: a dump that fills a disk, and goes again.
full() {
	before=$(ls -A $small)
	run "$1" 2 livedump capture $2 $small
	said "$1" "No space left on device"
	nothing_left "$1" $small "$before"
	free=$(df -m $small | awk 'END { print $4 }')
	expect "$1: the room is free again" $((free >= 2)) 1
}

# no_room CASE: a dump that does not begin.
no_room() {
	before=$(ls -A $small)
	run "$1" 2 livedump capture $small
	said "$1" "no dump taken"
	said "$1" "free in $small: "
	nothing_left "$1" $small "$before"
}

# full_disks CASE OPTION...: with each of the options.
full_disks() {
	what=$1
	shift
	# Not in /tmp: UFS that covers tmpfs, and tmpfs that covers UFS, are two
	# orders of locks, of which WITNESS complains.
	mkdir -p $small
	mount -t tmpfs -o size=4m tmpfs $small
	for option in "$@"; do
		full "full tmpfs, $what, $option" $option
	done
	no_room "no room, $what"
	run "no room, $what: estimate" 1 livedump estimate --sample 0 $small
	umount $small
	md=$(mdconfig -a -t swap -s 6m)
	newfs -U /dev/$md >$log 2>&1 && mount /dev/$md $small
	for option in "$@"; do
		full "full UFS, $what, $option" $option
	done
	umount $small
	mdconfig -d -u $md
}

# limited WHAT: files may have 4 MB, and no signal kills.
limited() {
	before=$(ls -A $crash)
	for option in -q -qZ; do
		run "$1, ulimit -f, $option" 2 sh -c \
		    "ulimit -f 8192; exec livedump capture $option $crash"
		said "$1, ulimit -f, $option" "File too large"
		nothing_left "$1, ulimit -f, $option" $crash "$before"
	done
}

# starved: more than minfree leaves.
starved() {
	echo 1000000000 >$crash/minfree
	before=$(ls -A $crash)
	run "minfree, $1" 2 livedump capture $crash
	said "minfree, $1" "no dump taken: .*, minfree: "
	nothing_left "minfree, $1" $crash "$before"
	rm $crash/minfree
}
