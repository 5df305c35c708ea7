// SPDX-License-Identifier: BSD-2-Clause
//! Return addresses of an arm64 kernel that signs them (from 15 on): debuggers
//! have to be told which bits are the address. C: `ADDR_MAKE_CANONICAL`.

/// lldb's settings.
pub(super) const LLDB: &str = "\
settings set target.process.virtual-addressable-bits 48
settings set target.process.highmem-virtual-addressable-bits 48
";

/// gdb knows signed addresses of programs only. This goes up by frame
/// pointers, to where they end: other registers, sp too, are not known in
/// outer frames.
pub(super) const GDB: &str = r#"set print entry-values no
python
import gdb.unwinder
class Frame:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc
class Signed(gdb.unwinder.Unwinder):
    def __call__(self, frame):
        fp = int(frame.read_register("x29")) & 0xffffffffffffffff
        pc = frame.read_register("pc")
        outer = frame.read_register("sp").is_optimized_out
        try:
            record = bytes(gdb.selected_inferior().read_memory(fp, 16))
        except gdb.MemoryError:
            record = bytes(16)
        up, lr = (int.from_bytes(record[n:n + 8], "little") for n in (0, 8))
        in_kernel = lr >> 55 & 1
        if not outer and (not in_kernel or lr >> 48 == 0xffff):
            return None
        type = pc.type
        address = lambda n: gdb.Value(n).cast(type)
        info = frame.create_unwind_info(Frame(address(fp), pc))
        # Where they end is an address of 0, which gdb stops at.
        pc = lr | 0xffff << 48 if in_kernel else 0
        info.add_saved_register("pc", address(pc))
        up = gdb.Value(up).cast(gdb.lookup_type("long"))
        info.add_saved_register("x29", up)
        return info
gdb.unwinder.register_unwinder(None, Signed("livedump"), True)
end
"#;
