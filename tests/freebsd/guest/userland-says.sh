# SPDX-License-Identifier: BSD-2-Clause
#
# What the other scripts say, in init's language (rt.h), and bring out.

# The root is read-only.
crash=/scratch/crash
small=/scratch/small
kernel=/boot/kernel/kernel
log=/tmp/log
# Where files go on the output disk, in megabytes: behind init's own.
at=32768
marker=livedump-marker-7261

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

# live CASE COMMAND...: reads a dump of a machine that ran on. Where a list was
# changed while its pages were written, what it held cannot be told: status 3,
# with the reason.
live() {
	case_=$1
	shift
	"$@" >$log 2>&1
	case $? in
	3)
		said "$case_: status 3" "^livedump: \|undetermined"
		echo "FACT $(echo "$case_" | tr ' ' -) $(grep \
		    '^livedump: \|undetermined' $log | head -n 1)"
		;;
	*) expect "$case_: exit status" $? 0 ;;
	esac
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

# await COMMAND...: until it succeeds, for some seconds.
await() {
	for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		"$@" && return 0
		sleep 1
	done
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

# nothing_left CASE DIRECTORY BEFORE
nothing_left() {
	expect "$1: nothing is left" "$(ls -A $2)" "$3"
}

# pace MICROSECONDS: so long the module waits at each block.
pace() {
	sysctl debug.ldtest.delay_us=$1 >/dev/null
}
