# SPDX-License-Identifier: BSD-2-Clause
#
# Dumps that go to no crash directory, and those that only a key opens.

# A live dump onto a dump device, which the stock tool takes off again.
on_a_device() {
	mkdir -p /scratch/stock $kept
	for sector in 512 4096; do
		truncate -s 300m /scratch/dev.img
		md=$(mdconfig -a -t vnode -S $sector -f /scratch/dev.img)
		name="to-device, $sector"
		run "$name" 0 livedump capture -Z --to-device /dev/$md
		run "$name: save --check" 0 livedump save --check /dev/$md
		run "$name, again" 2 livedump capture --to-device /dev/$md
		said "$name, again" "not saved"
		if has savecore; then
			run "$name: savecore" 0 savecore -v /scratch/stock /dev/$md
			run "$name: savecore's is whole" 0 livedump verify \
			    -k $kernel /scratch/stock/vmcore.0.zst
			rm /scratch/stock/*
		fi
		# It was saved, or is to be overwritten.
		run "$name, plain" 0 livedump capture -f --to-device /dev/$md
		run "$name: save" 0 livedump save /dev/$md $kept
		run "$name: what was saved" 0 livedump verify -k $kernel \
		    $kept/vmcore.0
		rm $kept/*
		expect "swapon" "$(/sbin/init swapon /dev/$md)" 0
		run "$name, swap" 2 livedump capture -f --to-device /dev/$md
		said "$name, swap" "swap that is in use"
		expect "swapoff" "$(/sbin/init swapoff /dev/$md)" 0
		mdconfig -d -u $md
		rm /scratch/dev.img
	done
	run "to-device, the root" 2 livedump capture --to-device /dev/vtbd1
	rm -r $kept /scratch/stock
}

# opened CASE DUMP: what a key opens is a dump, and nothing else is.
opened() {
	name=$1 sealed=$2
	for word in $marker "page fault" "FreeBSD 1"; do
		expect "$name: '$word' is not in it" \
		    "$(grep -a -c "$word" $sealed)" 0
	done
	run "$name: info without the key" 2 livedump info $sealed
	run "$name: verify without the key" 3 livedump verify $sealed
	live "$name: ps" livedump ps -k $kernel \
	    --private-key /keys/private.pem $sealed
	said "$name: ps" "^ *1 .* init$"
	run "$name: decrypt" 0 livedump decrypt -k /keys/private.pem \
	    -o $kept/ours $sealed
	live "$name: verify" livedump verify -k $kernel $kept/ours
	has decryptcore || return
	run "$name: decryptcore" 0 decryptcore -p /keys/private.pem \
	    -k $kept/key.0 -e $sealed -c $kept/stock
	run "$name: decryptcore writes the same" 0 cmp $kept/ours $kept/stock
}

encrypted() {
	if [ ! -e /keys/private.pem ]; then
		echo "SKIP encrypted: the host has no openssl"
		return
	fi
	public=/keys/public.pem
	run "doctor --encrypt" 0 livedump doctor --encrypt $public $crash
	for how in "-Z chacha20" "-z chacha20" "-q chacha20" "-q aes-256-cbc"; do
		set -- $how
		mkdir $kept
		run "encrypted, $how" 0 livedump capture $1 --cipher $2 \
		    --encrypt $public $kept
		opened "encrypted, $how" $(echo $kept/livecore_encrypted.0*)
		rm -r $kept
	done
	mkdir $kept
	livedump capture -qZ --encrypt $public - >$kept/stream 2>$log
	expect "encrypted, a pipe" $? 0
	run "encrypted, a pipe: decrypt" 0 livedump decrypt \
	    -k /keys/private.pem -o $kept/plain $kept/stream
	live "encrypted, a pipe: verify" livedump verify -k $kernel $kept/plain
	rm $kept/*
	truncate -s 300m /scratch/dev.img
	md=$(mdconfig -a -t vnode -f /scratch/dev.img)
	run "encrypted, a device" 0 livedump capture -Z --encrypt $public \
	    --to-device /dev/$md
	if has savecore; then
		run "encrypted, a device: savecore" 0 savecore -v $kept /dev/$md
		opened "encrypted, a device" $(echo $kept/vmcore_encrypted.0*)
	fi
	mdconfig -d -u $md
	rm -r $kept /scratch/dev.img
	if has procstat; then
		mkdir $inner
		within "capture --encrypt" $tool capture -Z --encrypt $public \
		    $inner
		refused /dev/mem 93,93,93,93
		refused $inner $making
		refused $kernel $reading
		rm -r $inner
	fi
}

# served: the server is in capability mode, and listens.
served() {
	case $(ps -o state= -p $server 2>/dev/null) in
	*C*) grep -q "receiving at" $log.server ;;
	*) return 1 ;;
	esac
}

over_the_network() {
	expect "lo0" "$(/sbin/init loopback)" 0
	mkdir $kept
	livedump capture -Z $kept >$log 2>&1
	sent=$kept/livecore.0.zst
	livedump receive --bind 127.0.0.1 --count 3 --exec "touch $kept/done" \
	    $kept >$log.server 2>&1 &
	server=$!
	await served
	expect "receive: in capability mode" $? 0
	run "receive, a second one" 2 livedump receive --bind 127.0.0.1 $kept
	run "send" 0 livedump send $sent 127.0.0.1
	run "capture netdump://" 0 livedump capture -Z netdump://127.0.0.1
	if [ -e /keys/public.pem ]; then
		run "capture netdump://, encrypted" 0 livedump capture -Z \
		    --encrypt /keys/public.pem netdump://127.0.0.1
	else
		livedump send $sent 127.0.0.1 >$log 2>&1
	fi
	wait $server
	status=$?
	cp $log.server $log
	expect "receive: exit status" $status 0
	run "what was sent is what came" 0 cmp $sent $kept/livecore.1.zst
	live "what was dumped over the network" livedump verify -k $kernel \
	    $kept/livecore.2.zst
	if [ -e /keys/public.pem ]; then
		run "what was encrypted: decrypt" 0 livedump decrypt \
		    -k /keys/private.pem -d $kept 3
		live "what was encrypted: verify" livedump verify -k $kernel \
		    $kept/livecore.3.zst
	fi
	expect "receive: --exec" "$(ls $kept/done)" $kept/done
	rm -r $kept $log.server
}
