use livedump_kmod::kpi::hosted::*;
use memdev::ioctl::*;
use std::sync::Arc;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let m = raw::RawMachine::open(a[1].as_ref()).unwrap();
    let k = HostedKernel::new(Arc::new(m));
    let p = k.process(process::Credentials::ROOT);
    let f = std::fs::File::create(&a[2]).unwrap();
    let fd = p.install(process::Descriptor::from_file(f).unwrap());
    let mut arg = MemMinidumpArg::new();
    arg.fd = fd;
    arg.compression = a[3].parse().unwrap();
    arg.level = a[4].parse().unwrap();
    arg.workers = a[5].parse().unwrap();
    let mut b = [0; 128];
    arg.encode(&mut b);
    let t = std::time::Instant::now();
    let r = p.ioctl(MEM_MINIDUMP, &mut b);
    println!("{r:?} {:?} {:?} locks {}", t.elapsed(), MemMinidumpArg::decode(&b), k.locks_held());
}
