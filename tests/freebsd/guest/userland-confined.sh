# SPDX-License-Identifier: BSD-2-Clause
#
# What the kernel refuses the tool in capability mode, asked in its own
# process.

# within CASE COMMAND...: what it may not do once it is in capability mode: it
# opens no file, and no descriptor of it takes requests that it has no use for.
within() {
	case_=$1
	shift
	/sbin/init confined $kernel "$@" >$log 2>/tmp/said
	expect "$case_: asked within" $? 0
	sed 's/  */ /g' $log | grep -v 'openat 9 read 9 write 9 ioctl 9'
	cat /tmp/said
	# ECAPMODE
	said "$case_, any file" "^open $kernel 94$"
	expect "$case_, any descriptor" \
	    "$(grep '^fd .* ioctl \(0\|25\)' $log)" ""
}

# refused NAME WANT: what it may not do with its descriptors of a file, as the
# errno(2) of openat(2), read(2), write(2) and ioctl(2). ENOTCAPABLE is 93,
# EBADF 9; what is read and written has no bytes.
refused() {
	got=
	for fd in $(awk -v name=$1 '$NF == name { print $3 }' $log); do
		got="$got $(sed -n "s/^fd $fd openat \(.*\) read \(.*\) \
write \(.*\) ioctl \(.*\)/\1,\2,\3,\4/p" $log)"
	done
	expect "$case_, $1" "$(echo $got)" "$2"
}

# Files that are read, files that are locked, directories that are read,
# directories in which files are made.
reading=93,0,93,93
locking=93,93,93,93
listing=93,0,93,93
making=93,0,9,93

tool=/usr/sbin/livedump
# Not below /tmp: out of the root of a mount 15.1 lets ".." lead even so.
inner=/scratch/inner

capability_mode() {
	has procstat || return
	# A process that is not confined is not refused. (dd and cat are.)
	sh -c 'while :; do echo; done' >/dev/null 2>&1 &
	busy=$!
	# Not while it is in execve(2).
	sleep 1
	/sbin/init within $kernel $busy >$log 2>&1
	said "not confined" "^open $kernel 0$"
	mkdir $inner
	# What it was started with is taken from it, too.
	export TMPDIR=$inner
	within "capture -" $tool capture -Z - 7</livedump.ko
	unset TMPDIR
	refused /dev/mem 93,93,93,93
	# It goes to the pipe: there is no directory.
	refused $inner ""
	refused $kernel $reading
	refused /livedump.ko 93,93,93,93
	within capture $tool capture -Z $inner
	refused /dev/mem 93,93,93,93
	refused $inner $making
	refused $kernel $reading
	# One that is there has a name that procstat knows.
	: >$inner/watch.lock
	within watch $tool watch --every 1h --keep 2 $inner
	refused /dev/mem 93,93,93,93
	refused $inner $making
	refused $inner/watch.lock $locking
	refused $kernel $reading
	run "confined, a dump" 0 livedump capture $inner
	dump=$inner/livecore.0
	within read $tool read --raw --phys $dump 0x200000 1M
	refused $dump $reading
	within ps $tool ps $dump
	refused $dump $reading
	refused $kernel $reading
	within list $tool list $inner
	refused $inner $listing
	refused $kernel $reading
	within prune $tool prune --keep 1 $inner
	refused $inner $making
	cp /panic.img /scratch/panic.img
	within save $tool save --keep /scratch/panic.img $inner
	refused /scratch/panic.img "$reading $locking"
	refused $inner $making
	rm -r $inner /scratch/panic.img /tmp/said
}
