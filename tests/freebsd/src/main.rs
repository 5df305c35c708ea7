mod loader;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let root = std::fs::read(&a[2]).unwrap();
    let tramp = std::fs::read(&a[3]).unwrap();
    let out = loader::multiboot(&loader::Boot {
        kernel: a[1].as_ref(),
        root: &root,
        env: &[],
        tramp: &tramp,
    })
    .unwrap();
    std::fs::write(&a[4], out).unwrap();
}
