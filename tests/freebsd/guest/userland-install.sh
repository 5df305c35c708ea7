# SPDX-License-Identifier: BSD-2-Clause
#
# Installing on a base system, as the documentation says: what is there
# afterwards, the service, the periodic script; and nothing when it is removed.
# Takes service(8), periodic(8) and rc.subr(8), which are scripts.

local=/usr/local
parts="tool service module"

# Files and directories that an installation could touch.
tree() {
	find /boot /etc $local | sort
}

# until SECONDS COMMAND...
until_() {
	seconds=$1
	shift
	while [ $seconds -gt 0 ]; do
		"$@" >/dev/null 2>&1 && return 0
		sleep 1
		seconds=$((seconds - 1))
	done
	return 1
}

install_() {
	TOOL=/usr/sbin/livedump KMOD=/livedump.ko sh /livedump/dist/install "$@"
}

service_runs() {
	cat >>/etc/rc.conf <<-EOC
		livedump_enable="YES"
		livedump_dir="$crash"
		livedump_flags="-Z --every 3s --keep 3"
	EOC
	next=$(cat $crash/bounds 2>/dev/null || echo 0)
	second=livecore.$((next + 1)).zst third=livecore.$((next + 2)).zst
	run "service livedump start" 0 service livedump start
	kldstat -q -m livedump
	expect "the service loads the module" $? 0
	run "service livedump status" 0 service livedump status
	until_ 90 test -e $crash/$second
	expect "the service takes dumps" $? 0
	run "service livedump restart" 0 service livedump restart
	until_ 60 test -e $crash/$third
	expect "it goes on after a restart" $? 0
	run "service livedump stop" 0 service livedump stop
	run "service livedump status, stopped" 1 service livedump status
	cp /var/log/livedump.log $log
	said "its log" "$second"
	expect "its log is for root" "$(stat -f %Lp /var/log/livedump.log)" 600
}

periodic_runs() {
	cat >/etc/periodic.conf <<-EOC
		daily_output=/tmp/daily.out
		daily_livedump_enable="YES"
		daily_livedump_dir="$crash"
		daily_livedump_prune_flags="--keep 2"
	EOC
	sed -i '' 's/^livedump_enable=.*/livedump_enable="NO"/' /etc/rc.conf
	run "periodic daily" 0 periodic daily
	cp /tmp/daily.out $log
	said "periodic" "^Live kernel dumps in $crash:"
	said "periodic" "livecore.[0-9]*.zst: sound"
	expect "periodic removes dumps beyond the limit" \
	    "$(ls $crash | grep -c '^livecore\.[0-9]')" 2
	sed -i '' 's/^livedump_enable=.*/livedump_enable="YES"/' /etc/rc.conf
	periodic daily
	cp /tmp/daily.out $log
	said "periodic, no service" "livedump_enable is set and livedump is not"
}

installed() {
	has livedump && has service && has periodic || return
	mount -u -o rw /
	tree >/tmp/before
	run "install" 0 install_ install $parts
	run "installed tool" 0 $local/sbin/livedump --version
	run "installed completions" 0 grep -q "#compdef livedump" \
	    $local/share/zsh/site-functions/_livedump
	for n in 4 5 8; do
		test -s $local/share/man/man$n/livedump.$n
		expect "installed manual page, section $n" $? 0
	done
	service_runs
	periodic_runs
	run "capture as installed" 0 $local/sbin/livedump capture -Z $crash
	run "doctor as installed" 0 $local/sbin/livedump doctor $crash
	said "doctor as installed" \
	    "livedump $(sysctl -n kern.livedump.version) is loaded"
	kldunload livedump
	cp $local/etc/devd/livedump.conf.sample $local/etc/devd/livedump.conf
	run "uninstall" 0 install_ uninstall $parts
	rm -f /etc/rc.conf /etc/periodic.conf
	tree >/tmp/after
	cmp /tmp/before /tmp/after >$log 2>&1
	expect "nothing is left of it" $? 0
}
