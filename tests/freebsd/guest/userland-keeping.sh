# SPDX-License-Identifier: BSD-2-Clause
#
# The commands around a capture: how large, how often, how many, from where.

kept=/scratch/kept

# names: the dumps there, without those that have no number.
names() {
	echo $(cd $kept && ls | grep '^livecore\.[0-9]')
}

# number JSONKEY FILE
number() {
	sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" $2
}

# estimated: against a dump that is taken at once. Packed, it is a guess by
# what comes first.
estimated() {
	before=$(ls -A $crash)
	run estimate 0 livedump estimate --json -Z $crash
	nothing_left estimate $crash "$before"
	plain=$(number dumpextent $log)
	packed=$(number need $log)
	n=$(cat $crash/bounds)
	livedump capture -q $crash
	size=$(stat -f %z $crash/livecore.$n)
	rm -f $crash/*.$n
	apart=$(((plain - size) * 100 / size))
	expect "estimate: $plain, and it has $size" \
	    $((apart >= -2 && apart <= 2)) 1
	n=$(cat $crash/bounds)
	livedump capture -qZ $crash
	size=$(stat -f %z $crash/livecore.$n.zst)
	rm -f $crash/*.$n $crash/*.$n.zst
	apart=$(((packed - size) * 100 / size))
	expect "estimate -Z: $packed, and it has $size" \
	    $((apart >= -35 && apart <= 35)) 1
}

# has_taken N
has_taken() {
	[ "$(cat $kept/bounds 2>/dev/null)" -ge $1 ] 2>/dev/null
}

# is_dumping: a dump has begun that has no name yet.
is_dumping() {
	ls $kept | grep -q tmp
}

# reload: the module goes and comes while a watch runs, and the next dumps are
# the module's. The one in progress ends first.
reload() {
	await kldunload livedump 2>/dev/null
	expect "$1, kldunload" $? 0
	run "$1, kldload" 0 kldload /livedump.ko
	taken=$(cat $kept/bounds)
	await has_taken $((taken + 2))
	expect "$1, dumps after it" $? 0
	last=$(($(cat $kept/bounds) - 1))
	expect "$1, the node" "$(head -n 1 $kept/info.$last)" \
	    "Dump header from device: $2"
	expect "$1, the module's" \
	    $(($(sysctl -n kern.livedump.completed) > 0)) 1
}

# What is confined keeps its node; what is not opens one for each dump.
reopened() {
	kldunload livedump
	kenv kern.livedump.mem=0 >/dev/null
	kldload /livedump.ko
	livedump watch --every 1s --keep 2 --exec true $kept \
	    >/tmp/watched 2>&1 &
	watch=$!
	taken=$(cat $kept/bounds)
	await has_taken $((taken + 1))
	reload "watch --exec, module reloaded" /dev/livedump
	kill -TERM $watch
	wait $watch
	expect "watch --exec, SIGTERM: exit status" $? 0
	kldunload livedump
	kenv -u kern.livedump.mem >/dev/null
	kldload /livedump.ko
}

# A restart knows what was taken; a killed one leaves nothing for long.
watched() {
	mkdir $kept
	livedump watch --every 1s --keep 2 $kept >$log 2>&1 &
	watch=$!
	await has_taken 3
	case $(ps -o state= -p $watch) in
	*C*) confined=yes ;;
	*) confined=no ;;
	esac
	expect "watch: capability mode" $confined yes
	run "watch, a second one" 2 livedump watch --every 1s --keep 2 $kept
	reload "watch, module reloaded" /dev/mem
	kill -TERM $watch
	wait $watch
	expect "watch, SIGTERM: exit status" $? 0
	expect "watch, SIGTERM: dumps" $(names | wc -w) 2
	expect "watch, SIGTERM: temporary files" "$(ls $kept | grep tmp)" ""
	expect "watch, SIGTERM: its lock" "$(stat -f %z $kept/watch.lock)" 0
	next=$(cat $kept/bounds)
	pace 5000
	livedump watch --every 1s --keep 2 $kept >$log 2>&1 &
	watch=$!
	await is_dumping
	kill -KILL $watch
	wait $watch 2>/dev/null
	pace 0
	expect "watch, SIGKILL: dumps" $(names | wc -w) 2
	run "watch again" 0 livedump watch --every 1s --keep 2 --count 1 $kept
	expect "watch again: dumps" "$(names)" \
	    "livecore.$((next - 1)) livecore.$next"
	expect "watch again: temporary files" "$(ls $kept | grep tmp)" ""
	run "watch --exec" 0 livedump watch --every 1s --keep 2 --count 1 \
	    --exec 'echo $LIVEDUMP_VERDICT $LIVEDUMP_FILE >/tmp/ran' $kept
	expect "watch --exec: it ran" "$(cat /tmp/ran)" \
	    "sound $kept/livecore.$((next + 1))"
}

listed() {
	last=$(($(cat $kept/bounds) - 1))
	run list 0 livedump list -k $kernel $kept
	said list "^$last .* guest.example.org *$(sysctl -n kern.osrelease)"
	said list "^$last .* sound$"
	run "list --json" 0 livedump list --json $kept
	expect "list --json: the next one" $(number next $log) $((last + 1))
	before=$(ls -A $kept)
	run "prune -n" 0 livedump prune -n --keep 1 $kept
	nothing_left "prune -n" $kept "$before"
	run prune 0 livedump prune --keep 1 $kept
	expect "prune: dumps" "$(names)" livecore.$last
	run "prune, again" 0 livedump prune --keep 1 $kept
	expect "prune, again: dumps" "$(names)" livecore.$last
	rm -r $kept
	run "list, no directory" 2 livedump list $kept
}

# piped: nothing lies anywhere meanwhile.
piped() {
	before=$(ls -A /tmp)
	{ livedump capture -q -Z - 2>/tmp/said; echo $? >/tmp/status; } |
	    zstd -q -d >/scratch/piped
	expect "capture -: exit status" "$(cat /tmp/status)" 0
	expect "capture -: it says" "$(cat /tmp/said)" ""
	run "capture -: verify" 0 livedump verify -k $kernel /scratch/piped
	{ livedump capture - 2>$log; echo $? >/tmp/status; } |
	    head -c 10 >/dev/null
	expect "capture -, nobody reads on: exit status" \
	    "$(cat /tmp/status)" 2
	said "capture -, nobody reads on" "Broken pipe"
	rm /scratch/piped /tmp/said /tmp/status
	expect "capture -: nothing is left" "$(ls -A /tmp)" "$before"
}

# A dump device: what the host has written, as a panic would have.
saved() {
	run "save --check, no dump" 1 livedump save --check /dev/vtbd2
	said "save --check, no dump" "no dump at the end"
	cp /panic.img /scratch/panic.img
	md=$(mdconfig -a -t vnode -f /scratch/panic.img)
	run "save --check" 0 livedump save --check /dev/$md
	mkdir -p $kept /scratch/stock
	run "save --keep" 0 livedump save --keep /dev/$md $kept
	if has savecore; then
		run savecore 0 savecore /scratch/stock /dev/$md
		run "save is what savecore saves" 0 cmp $kept/vmcore.0 \
		    /scratch/stock/vmcore.0
		run "save --check, saved" 1 livedump save --check /dev/$md
		said "save --check, saved" "was already saved"
		run "save --force" 1 livedump save --force /dev/$md $kept
		said "save --force" "has been saved before"
		run "save --force is what was saved" 0 cmp $kept/vmcore.0 \
		    $kept/vmcore.1
	else
		run save 0 livedump save /dev/$md $kept
	fi
	run "save, again" 1 livedump save /dev/$md $kept
	mdconfig -d -u $md
	rm -r $kept /scratch/stock /scratch/panic.img
}
