// What a torch that is built without CUDA lacks to let tensors say that they are on "cuda:N": the guard that autograd
// sets before it runs on a device, the hooks that torch asks about CUDA, the machine's accelerator, and the timer of
// DDP's reducer. There is nothing behind it: streams are names, events are always over, and `tensor.py` computes.
//
// FLUXKIT_STAND_IN_DEVICES says how many devices there are; none unless it is set, and then torch is as it was.

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/distributed/c10d/reducer_timer.hpp>

#include <cstdlib>
#include <optional>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;

thread_local DeviceIndex current = 0;

DeviceIndex devices() {
  const char* count = std::getenv("FLUXKIT_STAND_IN_DEVICES");
  return count ? static_cast<DeviceIndex>(std::atoi(count)) : 0;
}

// An index below 0 means the current device.
void make_current(DeviceIndex index) {
  if (index >= 0) {
    current = index;
  }
}

DeviceIndex exchange(DeviceIndex index) {
  const DeviceIndex before = current;
  make_current(index);
  return before;
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device device) const override { return Device(DeviceType::CUDA, exchange(device.index())); }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  void setDevice(Device device) const override { make_current(device.index()); }
  void uncheckedSetDevice(Device device) const noexcept override { make_current(device.index()); }
  DeviceIndex deviceCount() const noexcept override { return devices(); }

  Stream getStream(Device device) const override {
    const DeviceIndex index = device.index() < 0 ? current : device.index();
    return Stream(Stream::DEFAULT, Device(DeviceType::CUDA, index));
  }
  Stream getDefaultStream(Device device) const override { return getStream(device); }
  Stream exchangeStream(Stream stream) const override { return Stream(Stream::DEFAULT, stream.device()); }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}

  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
};

C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct Hooks final : at::CUDAHooksInterface {
  explicit Hooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool hasCUDA() const override { return devices() > 0; }
  bool isAvailable() const override { return devices() > 0; }
  bool hasPrimaryContext(DeviceIndex) const override { return devices() > 0; }
  DeviceIndex deviceCount() const override { return devices(); }
  DeviceIndex getCurrentDevice() const override { return current; }
  DeviceIndex current_device() const override { return current; }
  void setCurrentDevice(DeviceIndex index) const override { make_current(index); }
  DeviceIndex exchangeDevice(DeviceIndex index) const override { return exchange(index); }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override { return exchange(index); }
};

using at::CUDAHooksArgs;
using at::CUDAHooksRegistry;
using at::RegistererCUDAHooksRegistry;
C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, Hooks)

} // namespace

namespace at::accelerator {

// Takes the place of torch's own, which knows at compile time that there is none; so this has to be loaded first.
__attribute__((visibility("default"))) std::optional<c10::DeviceType> getAccelerator(bool) {
  return devices() > 0 ? std::optional(c10::DeviceType::CUDA) : std::nullopt;
}

} // namespace at::accelerator

namespace c10d {
namespace {

// DDP times its reductions by events of the device; here nothing is known of them, as before the first iteration.
class NoTimer : public Timer {
 public:
  explicit NoTimer(c10::Device) {}
  void record(Event) override {}
  std::optional<int64_t> measureDifference(Event, Event) override { return std::nullopt; }
};

C10_REGISTER_TYPED_CLASS(TimerRegistry, c10::kCUDA, NoTimer)

} // namespace
} // namespace c10d
