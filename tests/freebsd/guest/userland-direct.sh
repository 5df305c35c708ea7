# SPDX-License-Identifier: BSD-2-Clause
#
# Another kernel's memory, which this one leaves alone, from /dev/mem.

direct() {
	hostname rescue.example.org
	mkdir $crash
	has livedump || return
	range=$(kenv livedump.range)
	other="--machine physmem:/dev/mem -k $kernel"
	echo "FACT direct-phys-segs $(sysctl -n vm.phys_segs | grep -c start)"
	run "direct: without a range" 2 livedump capture $other $crash
	said "direct: without a range" "RESCUE KERNELS"
	run "direct: a range that is not there" 2 livedump capture $other \
	    --range 0x0fffffff0000-0x100000000000 $crash
	said "direct: a range that is not there" \
	    "range 0xfffffff0000-0x100000000000"
	run "direct: a range without the kernel" 2 livedump capture $other \
	    --range 0x30000000-0x38000000 $crash
	said "direct: a range without the kernel" "is not in this memory"
	nothing_left "direct" $crash ""
	run "direct: doctor" 0 livedump doctor $other --range $range $crash
	run "direct: estimate" 0 livedump estimate $other --range $range $crash
	take direct "" livedump capture $other --range $range $crash
	run "direct: verify" 0 livedump verify -k $kernel $dump
}
