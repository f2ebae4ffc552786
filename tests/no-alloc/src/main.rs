//! A kernel that has no allocator. It sets the buses up and looks for a NIC; what matters is that
//! it links: a crate below that uses `alloc` makes the linker ask for a global allocator, of which
//! there is none.
//!
//! On a host it is empty.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod kernel {
    use core::panic::PanicInfo;

    use paravane_hal::mmio::MmioMap;
    use paravane_hal::port::PortIo;
    use paravane_hal::time::Clock;
    use paravane_pci::assign::{AddressWindow, Resource, Windows, assign_all};
    use paravane_pci::{Cam, Command, ConfigAccess as _, Found, Function, enumerate};

    /// Has a NIC ready for its driver.
    #[expect(dead_code, reason = "nobody starts it; that it links is what matters")]
    fn bring_up<P: PortIo + MmioMap + Clock>(platform: &P) -> Option<P::Region> {
        let config = Cam::new(platform);
        let mut windows =
            Windows { memory32: AddressWindow::new(0xe000_0000, 1 << 28), ..Windows::default() };
        let mut list = [Resource::EMPTY; 64];
        assign_all(&config, config.buses(), &mut windows, &mut list).ok()?;
        let mut nic = None;
        enumerate(&config, &mut |found| {
            if let Found::Function(found) = found
                && found.ids.class == 2
            {
                nic = Some(
                    Function::claim(&config, found.address)
                        .map(|nic| nic.enable_path(found.path).map(|()| nic)),
                );
            }
        });
        let mut function = nic?.ok()?.ok()?;
        function.ensure_d0(platform).ok()?;
        function.enable(Command::MEMORY).ok()?;
        function.map_bar(platform, 0, 4096).ok()
    }

    #[panic_handler]
    fn panic(_: &PanicInfo<'_>) -> ! {
        // What the x86_64 platform offers is linked too.
        static LOCK: paravane_hal_x86_64::lock::SpinLock<u32> = paravane_hal_x86_64::lock::SpinLock::new(0);
        loop {
            LOCK.with(|turns| *turns = turns.wrapping_add(1));
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
