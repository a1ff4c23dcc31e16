//! Images built from manifests, read back as the hypervisor, QEMU and a guest would.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use dtoolkit::{Node, Property, fdt::Fdt};
use entresol_abi::image::{self as abi, Header};
use entresol_image::{Hypervisor, Image};
use entresol_system::report::HypervisorSize;
use object::{
    Endianness,
    elf::FileHeader32,
    read::elf::{FileHeader, ProgramHeader},
};
use std::path::Path;
use zerocopy::IntoBytes;

const MANIFEST: &str = r#"
machine = "xilinx-zynq-a9"

[[vm]]
name = "one"
image = "guest.bin"
format = "raw"
load = 0x4000_8000
entry = 0x4000_8001
initrd = "initrd.cpio"
cmdline = "console=ttyAMA0"
memory = "2M"
priority = 7
on-fault = "restart"
restarts = 3
passthrough = ["uart1"]
device-tree = "extra.dtb"

[[vm]]
name = "two"
image = "guest.bin"
format = "raw"
load = 0x4000_8000
memory = "1M"
devices = []
autostart = false

[[shared]]
name = "state"
size = "8K"
irq = 112
locks = "revocable"
vms = ["one", { vm = "two", at = 0x3800_0000, access = "read" }]
"#;

/// Builds the manifest's image, with files in a directory that lives as long.
fn build() -> (Image, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    write("guest.bin", &[0xaa; 0x1001]);
    write("initrd.cpio", b"070701 not really");
    write("extra.dtb", &extra_tree());
    let manifest = write("system.toml", MANIFEST.as_bytes());
    let system = entresol_system::load(&manifest, None).unwrap();
    let hypervisor = Hypervisor {
        bytes: vec![0x11; 0x123],
        entry_offset: 4,
        size: HypervisorSize { text: 0, memory: 0x123 },
        watched: None,
    };
    (entresol_image::build(&system, &hypervisor).unwrap(), directory)
}

/// `/ { chosen { note = "x"; }; extra { }; };`
fn extra_tree() -> Vec<u8> {
    use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
    let mut chosen = DeviceTreeNode::new("chosen").unwrap();
    chosen.add_property(DeviceTreeProperty::new("note", "x").unwrap());
    let mut tree = DeviceTree::new();
    tree.root.add_child(chosen);
    tree.root.add_child(DeviceTreeNode::new("extra").unwrap());
    tree.to_dtb()
}

/// The tables, aligned as they are on the target.
fn words(image: &Image) -> Vec<u32> {
    let padded = image.tables.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(word)
    });
    padded.collect()
}

fn payload<'a>(tables: &'a [u8], load: &abi::Load) -> &'a [u8] {
    &tables[usize::try_from(load.offset).unwrap()..][..usize::try_from(load.len).unwrap()]
}

#[test]
fn the_hypervisor_reads_what_the_manifest_says() {
    let (image, _directory) = build();
    let words = words(&image);
    let tables = words.as_bytes();
    let header = Header::check(tables).unwrap();
    assert_eq!(usize::try_from(header.image_len).unwrap(), image.tables.len());
    assert_eq!(header.load.0, 0x0010_0000);
    assert_eq!(&header.machine.name[..15], b"xilinx-zynq-a9\0");
    assert_eq!((header.machine.uart_base.0, header.machine.uart_irq), (0xe000_0000, 59));
    let ram = abi::table::<abi::Range>(tables, header.ram).unwrap();
    assert_eq!((ram[0].base.0, ram[0].len), (0x0010_0000, 0x3ff0_0000));

    let vms = abi::table::<abi::Vm>(tables, header.vms).unwrap();
    let [one, two] = vms else { panic!("two VMs, not {}", vms.len()) };
    assert_eq!((one.entry.0, one.r1, one.priority, one.restarts), (0x4000_8001, u32::MAX, 7, 3));
    let adaptive = abi::flags::PROMOTE;
    let first = abi::flags::AUTOSTART | abi::flags::UART | abi::flags::RTC | adaptive;
    assert_eq!(one.flags, first);
    assert_eq!((two.flags, two.memory_len), (adaptive, 1 << 20));
    assert_eq!(two.host.0, one.host.0 + one.memory_len);
    assert_eq!(header.pools.base.0 + header.pools.len, header.shared.base.0);
    assert_eq!(header.shared.base.0 + header.shared.len, one.host.0);

    let given = abi::table::<abi::Passthrough>(tables, one.passthrough).unwrap();
    assert_eq!((given[0].host.0, given[0].guest.0), (0xe000_1000, 0xe000_1000));
    assert_eq!((given[0].host_irq, given[0].guest_irq, given[0].len), (82, 82, 0x1000));

    assert_eq!((given[1].host, given[1].guest.0), (header.shared.base, 0x3000_0000));
    assert_eq!((given[1].len, given[1].guest_irq), (0x2000, 112));
    assert_eq!(given[1].flags, abi::given::MEMORY | abi::given::REVOCABLE | 0b01);
    let given = abi::table::<abi::Passthrough>(tables, two.passthrough).unwrap();
    assert_eq!((given[0].host, given[0].guest.0), (header.shared.base, 0x3800_0000));
    assert_eq!(given[0].flags, abi::given::MEMORY | abi::given::READ_ONLY);

    let loads = abi::table::<abi::Load>(tables, one.loads).unwrap();
    assert_eq!(loads.len(), 3);
    for load in loads {
        assert_eq!((load.offset % 0x1000, load.to.0 % 4), (0, 0));
        assert!(load.to.0 + load.len <= 0x4020_0000);
    }
    assert_eq!(payload(tables, &loads[0])[..0x1001], [0xaa; 0x1001]);
    assert_eq!(payload(tables, &loads[1]), b"070701 not really");
}

#[test]
fn a_file_that_two_vms_load_is_in_the_image_once() {
    let (image, _directory) = build();
    let words = words(&image);
    let tables = words.as_bytes();
    let header = Header::check(tables).unwrap();
    let vms = abi::table::<abi::Vm>(tables, header.vms).unwrap();
    let first = |vm: &abi::Vm| abi::table::<abi::Load>(tables, vm.loads).unwrap()[0];
    assert_eq!(first(&vms[0]), first(&vms[1]));
}

#[test]
fn a_guest_finds_its_board_in_the_device_tree() {
    let (image, _directory) = build();
    let words = words(&image);
    let tables = words.as_bytes();
    let header = Header::check(tables).unwrap();
    let vms = abi::table::<abi::Vm>(tables, header.vms).unwrap();
    let tree = |vm: &abi::Vm| {
        let loads = abi::table::<abi::Load>(tables, vm.loads).unwrap();
        let load = loads.iter().find(|load| load.to == vm.r2).unwrap();
        payload(tables, load).to_vec()
    };
    let one = tree(&vms[0]);
    let fdt = Fdt::new(&one).unwrap();
    let property = |node: &str, name: &str| {
        let node = fdt.find_node(node).unwrap_or_else(|| panic!("no node {node}"));
        node.property(name).unwrap_or_else(|| panic!("no property {name}")).value().to_vec()
    };
    assert_eq!(property("/chosen", "bootargs"), b"console=ttyAMA0\0");
    assert_eq!(property("/chosen", "note"), b"x\0");
    assert!(fdt.find_node("/extra").is_some());
    assert_eq!(property("/memory@40000000", "reg"), [0x40, 0, 0, 0, 0, 0x20, 0, 0]);
    assert_eq!(property("/psci", "method"), b"hvc\0");
    assert_eq!(property("/uart1@e0001000", "reg"), [0xe0, 0, 0x10, 0, 0, 0, 0x10, 0]);
    assert_eq!(property("/uart1@e0001000", "interrupts"), [0, 0, 0, 0, 0, 0, 0, 50, 0, 0, 0, 4]);
    let shared = "/reserved-memory/state@30000000";
    assert_eq!(property(shared, "reg"), [0x30, 0, 0, 0, 0, 0, 0x20, 0]);
    assert_eq!(property(shared, "interrupts"), [0, 0, 0, 0, 0, 0, 0, 80, 0, 0, 0, 1]);
    let two = tree(&vms[1]);
    let fdt = Fdt::new(&two).unwrap();
    assert!(fdt.find_node("/pl011@9000000").is_none());
    assert!(fdt.find_node("/pl031@9010000").is_none());
}

#[test]
fn the_elf_file_and_the_raw_binary_agree() {
    let (image, _directory) = build();
    let raw = image.to_raw().unwrap();
    let elf = image.to_elf().unwrap();
    let header = FileHeader32::<Endianness>::parse(elf.as_slice()).unwrap();
    let endian = header.endian().unwrap();
    assert_eq!(header.e_entry(endian), 0x0010_0004);
    assert_eq!(raw[4..8], image.reserved.to_le_bytes(), "the hypervisor finds its tables");
    for segment in header.program_headers(endian, elf.as_slice()).unwrap() {
        let data = segment.data(endian, elf.as_slice()).unwrap();
        let at = usize::try_from(segment.p_paddr(endian) - image.load).unwrap();
        assert_eq!(&raw[at..][..data.len()], data);
    }
}

#[test]
fn a_file_that_is_not_the_hypervisor_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("entresol-kernel");
    std::fs::write(&path, "text").unwrap();
    assert!(Hypervisor::read(&path).unwrap_err().to_string().contains("is not Entresol's"));
    assert!(Hypervisor::read(Path::new("/nowhere")).is_err());
}
