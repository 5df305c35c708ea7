# SPDX-License-Identifier: BSD-2-Clause
#
# Sourced: a rustc with the source of its library, from Debian (12, amd64),
# unpacked into $cache/rust, not installed. The stable compilers that rustup
# installs have neither FreeBSD's targets nor that source, and refuse
# another's. Wants $cache, say and die.

# $1: "host" when programs for this machine are to be compiled as well.
fetch_rust() {
	rust=$cache/rust
	if [ ! -e "$rust/.complete" ]; then
		say "fetching the Rust compiler and its library's source"
		rm -rf "$rust"
		apt-cache show rustc-web >/dev/null 2>&1 || apt-get update -qq
		std=$(depends libstd-rust-web-dev 'libstd-rust-web-[0-9]')
		unpack rustc-web rust-web-src "$std" \
		    "$(depends "$std" libllvm)"
		touch "$rust/.complete"
	fi
	if [ "${1:-}" = host ] && [ ! -e "$rust/.host" ]; then
		say "fetching the Rust library for this machine"
		unpack libstd-rust-web-dev
		touch "$rust/.host"
	fi
	library=$(echo "$rust"/usr/src/rustc-*/library)
	[ -d "$library" ] || die "no library source in $rust"
}

unpack() {
	rm -rf "$cache/debs"
	mkdir -p "$rust" "$cache/debs"
	(cd "$cache/debs" && apt-get download -qq "$@") ||
	    die "cannot download $*"
	for deb in "$cache"/debs/*.deb; do
		dpkg -x "$deb" "$rust"
	done
	rm -rf "$cache/debs"
}

# The dependency of package $1 whose name begins with $2.
depends() {
	apt-cache depends "$1" | sed -n "s/^ *Depends: \($2.*\)/\1/p" |
	    head -n 1
}
