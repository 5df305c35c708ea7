# SPDX-License-Identifier: BSD-2-Clause
#
# What a host lets whom do: doctor's word for it, other users, jails, and
# capability mode.

# doctor CASE STATUS WORDS...: each is said.
doctor() {
	what="doctor, $1"
	run "$what" $2 livedump doctor $crash
	shift 2
	for words in "$@"; do
		said "$what" "$words"
	done
}

# What it says of any FreeBSD.
doctor_of_host() {
	said "doctor" "^ok  *kernel  *FreeBSD $(sysctl -n kern.osrelease) \
($(sysctl -n kern.osreldate)) on amd64"
	said "doctor" "securelevel is $(sysctl -n kern.securelevel): dumps work"
	said "doctor" "^ok  *bootfile  *$(sysctl -n kern.bootfile) can be read"
	said "doctor" "^warning  *dumpon .*there is no dump device"
	said "doctor" "^ok  *sandbox  *capsicum"
	run "doctor --json" 0 livedump doctor --json $crash
	said "doctor --json" '"works": *true'
}

# as_nobody COMMAND: runs it, and what it says goes to $log.
as_nobody() {
	rm -f $log
	daemon -u nobody -o $log sh -c "$1; echo status \$?"
	await grep -q ^status $log
}

# in_jail COMMAND [PARAMETER...]
in_jail() {
	echo "$1; echo status \$?" >/tmp/jailed
	shift
	jail -c path=/ "$@" command=/bin/sh /tmp/jailed >$log 2>&1
}

# Those who may not.
strangers() {
	mkdir -p -m 0777 /tmp/nobody
	chmod 0777 /tmp/nobody
	as_nobody "livedump capture /tmp/nobody"
	said nobody "Permission denied"
	said nobody "status 2"
	nothing_left nobody /tmp/nobody ""
	as_nobody "livedump doctor /tmp/nobody"
	said "doctor, nobody" "^wrong  *device .*/dev/mem: Permission denied"
	said "doctor, nobody" "try: su -m root"
	said "doctor, nobody" "status 1"
	before=$(ls -A $crash)
	in_jail "livedump capture $crash"
	said "in a jail" "Operation not permitted"
	said "in a jail" "status 2"
	nothing_left "in a jail" $crash "$before"
	in_jail "livedump doctor $crash"
	said "doctor, in a jail" "^wrong  *facility .*outside of jails"
	said "doctor, in a jail" "^warning  *jail "
	said "doctor, in a jail" "status 1"
}

# A node that is not there.
hidden() {
	has devfs || return
	devfs -m /dev rule apply path mem hide
	doctor "no /dev/mem" 1 "^wrong  *device .*/dev/mem: No such file" \
	    "try: kldload mem"
	before=$(ls -A $crash)
	run "no /dev/mem" 2 livedump capture $crash
	said "no /dev/mem" "/dev/mem: No such file"
	nothing_left "no /dev/mem" $crash "$before"
	devfs -m /dev rule apply path mem unhide
}

# -- capability mode

# descriptor PID NAME: its number.
descriptor() {
	procstat -h fd $1 | awk -v name=$2 '$NF == name { print $3 }'
}

# waits PID: it has something in a pipe.
waits() {
	case $(ps -o wchan= -p $1) in
	pip*) return 0 ;;
	esac
	return 1
}

# in_pipe COMMAND...: runs it, and what it writes nobody reads before ask().
in_pipe() {
	mkfifo /tmp/pipe
	"$@" >/tmp/pipe 2>/dev/null &
	pid=$!
	{ await test -e /tmp/go; sleep 1; cat; } </tmp/pipe >/dev/null &
	await waits $pid
}

# ask: what the kernel refuses it, by errno(2).
ask() {
	echo >/tmp/go
	/sbin/init within $pid $kernel >$log 2>&1
	asked=$?
	kill -KILL $pid 2>/dev/null
	wait
	rm /tmp/pipe /tmp/go
}

# within CASE NAME OPENAT READ WRITE IOCTL COMMAND...: what it may not do with
# one of its descriptors. No other takes requests, and it opens no file.
within() {
	case_=$1 name=$2 refusals="openat $3 read $4 write $5 ioctl $6"
	shift 6
	in_pipe "$@"
	fd=$(descriptor $pid $name)
	procstat -h fd -C $pid | sed 's/  */ /g'
	ask
	grep -v 'openat 9 read 9 write 9 ioctl 9' $log
	expect "$case_: asked within" $asked 0
	# ECAPMODE
	said "$case_, any file" "^open $kernel 94$"
	said "$case_, $name" "^fd $fd $refusals$"
	expect "$case_, any descriptor" "$(grep 'ioctl \(0\|25\)' $log)" ""
}

# ENOTCAPABLE is 93, EBADF 9; what is read and written has no bytes.
capability_mode() {
	has procstat || return
	# Who is not confined is not refused. (dd and cat are.)
	in_pipe sh -c 'while :; do echo; done'
	ask
	said "not confined" "^open $kernel 0$"
	within "capture, the node" /dev/mem 93 93 93 93 \
	    livedump capture -Z -
	# Not /tmp: out of the root of a mount 15.1 lets ".." lead even so.
	mkdir /scratch/inner
	within "capture, the directory" /scratch/inner 93 0 9 93 \
	    env TMPDIR=/scratch/inner livedump capture -Z -
	nothing_left "capture, killed" /scratch/inner ""
	rm -r /scratch/inner
	take confined "" livedump capture $crash
	within "read, the dump" $dump 93 0 93 93 \
	    livedump read --raw --phys $dump 0x200000 1M
	remove
}
