# SPDX-License-Identifier: BSD-2-Clause
#
#	make				what is below in PARTS
#	make install			as root; DESTDIR and PREFIX as usual
#	make uninstall			removes what install has installed
#	make dist			a release: tarball and checksum
#
# For FreeBSD's make; GNU make does all of it but the module.
#
#	PARTS	tool: livedump(8), its manual pages and completions;
#		service: rc.d, periodic and samples of configuration;
#		module: livedump.ko, livedump(4), livedump_ioctl.h.
#		On FreeBSD all of them, elsewhere the first.
#	SYSDIR, KERNBUILDDIR, KMODDIR, RUSTC, RUST_SRC	see kmod/Makefile

PREFIX?=	/usr/local
KMODDIR?=	/boot/modules
CARGO?=		cargo
# What is installed, and what prints completions if that is for another system.
TOOL?=		target/release/livedump
HOST_TOOL?=	$(TOOL)
KMOD?=		kmod/livedump.ko
PARTS!=		sh dist/install parts

INSTALL=	PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) KMODDIR=$(KMODDIR) \
		TOOL=$(TOOL) HOST_TOOL=$(HOST_TOOL) KMOD=$(KMOD) \
		sh dist/install

all: $(PARTS)

tool:
	$(CARGO) build --release --locked -p livedump-cli --bin livedump

module:
	cd kmod && $(MAKE)

# Scripts: nothing to build.
service:

install:
	@$(INSTALL) install $(PARTS)

uninstall:
	@$(INSTALL) uninstall $(PARTS)

# After cargo install --path livedump-cli.
install-man:
	@$(INSTALL) install man

dist:
	@sh dist/tarball

clean:
	$(CARGO) clean --release
	cd kmod && $(MAKE) clean

.PHONY: all tool module service install uninstall install-man dist clean
