# SPDX-License-Identifier: BSD-2-Clause
#
# What a host lets whom do: doctor's word for it, other users, jails, and
# which node is asked.

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
	said "doctor" "^ok  *bootfile  *$(sysctl -n kern.bootfile) is readable"
	said "doctor" "^warning  *dumpon .*no dump device"
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
unprivileged() {
	mkdir -p -m 0777 /tmp/nobody
	chmod 0777 /tmp/nobody
	as_nobody "livedump capture /tmp/nobody"
	said nobody "Permission denied"
	said nobody "status 2"
	nothing_left nobody /tmp/nobody ""
	as_nobody "livedump doctor /tmp/nobody"
	said "doctor, nobody" "^FAIL  *device .*/dev/mem: Permission denied"
	said "doctor, nobody" "try: su -m root"
	said "doctor, nobody" "status 1"
	before=$(ls -A $crash)
	in_jail "livedump capture $crash"
	said "in a jail" "Operation not permitted"
	said "in a jail" "status 2"
	nothing_left "in a jail" $crash "$before"
	in_jail "livedump doctor $crash"
	said "doctor, in a jail" "^FAIL  *facility .*outside jails"
	said "doctor, in a jail" "^warning  *jail "
	said "doctor, in a jail" "status 1"
}

# A kernel whose own live dump would start a rescue kernel, by its tunable: this
# one has none, so that it is only asked for.
rescue_of_module() {
	kenv debug.rescue_minidump=1 >/dev/null
	doctor "rescue, module" 0 "^ok  *rescue .*rescue_minidump is 1"
	take rescue-module .zst livedump capture -Z $crash && remove
	kenv -u debug.rescue_minidump >/dev/null
}

rescue_refused() {
	kenv debug.rescue_minidump=1 >/dev/null
	before=$(ls -A $crash)
	run "rescue kernel" 2 livedump capture -f $crash
	said "rescue kernel" "would start the rescue kernel"
	said "rescue kernel" "debug.rescue_minidump is 1"
	run "rescue kernel, -L" 2 livedump -L $crash
	nothing_left "rescue kernel" $crash "$before"
	doctor "rescue kernel" 1 "^FAIL  *rescue .*rescue_minidump is 1" \
	    "try: kldload livedump"
	kenv debug.rescue_minidump=0 >/dev/null
	takes 3 stock-rescue-off .zst livedump capture -Z $crash && remove
	kenv -u debug.rescue_minidump >/dev/null
}

# A node that is not there.
hidden() {
	has devfs || return
	devfs -m /dev rule apply path mem hide
	doctor "no /dev/mem" 1 "^FAIL  *device .*/dev/mem: No such file" \
	    "try: kldload mem"
	before=$(ls -A $crash)
	run "no /dev/mem" 2 livedump capture $crash
	said "no /dev/mem" "/dev/mem: No such file"
	nothing_left "no /dev/mem" $crash "$before"
	devfs -m /dev rule apply path mem unhide
}

# -- nodes

# dumped_by NODE: who served the last dump.
dumped_by() {
	expect "$name: the node" "$(head -n 1 $info)" \
	    "Dump header from device: $1"
}

# node_of NAME NODE: what the tool asks, and that the module serves it.
node_of() {
	done_=$(sysctl -n kern.livedump.completed)
	take $1 "" livedump capture $crash || return
	dumped_by $2
	expect "$name: served by the module" \
	    $(sysctl -n kern.livedump.completed) $((done_ + 1))
	remove
}

# /dev/mem first; the module's own node where that is refused. Without the
# module.
nodes() {
	kenv kern.livedump.mem=0 >/dev/null
	run "kldload, mem=0" 0 kldload /livedump.ko
	node_of node-livedump-plain /dev/livedump
	run "kldunload, mem=0" 0 kldunload livedump
	kenv -u kern.livedump.mem >/dev/null
	run "kldload, nodes" 0 kldload /livedump.ko
	node_of node-mem-plain /dev/mem
	if has devfs; then
		devfs -m /dev rule apply path mem hide
		node_of node-hidden-plain /dev/livedump
		devfs -m /dev rule apply path mem unhide
	fi
	run "kldunload, nodes" 0 kldunload livedump
}
