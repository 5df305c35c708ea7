# SPDX-License-Identifier: BSD-2-Clause
#
# Sourced: what clones share that keep what they compile in one place.

# $1: that place. cargo takes another clone's crates for ours where ours were
# not changed since: it forgets them. What comes from elsewhere stays.
crates_of_this_clone() {
	[ "$(cat "$1/.clone" 2>/dev/null)" != "$PWD" ] || return 0
	rm -rf "$1"/*/.fingerprint/livedump-* "$1"/*/*/.fingerprint/livedump-*
	mkdir -p "$1"
	pwd >"$1/.clone"
}
