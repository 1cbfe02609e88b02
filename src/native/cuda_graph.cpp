// libtorch's CUDAGraph, without its header: that one needs CUDA's own, which not every libtorch
// brings along, and naming its symbols would make the program need libtorch_cuda wherever it runs.
//
// libtorch_cuda.so is loaded when the program runs (see load_cuda in mod.rs); the class's members are
// found in it by name. `tests/cuda.rs` records and replays a graph wherever there is a GPU.
#include <c10/core/Device.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "guarded.h"

namespace {

// As libtorch declares them: `this` is the first argument of a member function.
struct Members {
  void (*construct)(void* graph, bool keep_graph);
  void (*destruct)(void* graph);
  void (*capture_begin)(void* graph, std::pair<unsigned long long, unsigned long long> pool, int mode);
  void (*capture_end)(void* graph);
  void (*replay)(void* graph);
};

template <typename Function>
void find(void* library, const char* name, Function& function) {
  void* found = dlsym(library, name);
  TORCH_CHECK(found, "this libtorch_cuda has no ", name);
  function = reinterpret_cast<Function>(found);
}

const Members& members() {
  static const Members found = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_NOLOAD);
    TORCH_CHECK(library, "libtorch_cuda is not loaded");
    Members it;
    find(library, "_ZN2at4cuda9CUDAGraphC1Eb", it.construct);
    find(library, "_ZN2at4cuda9CUDAGraphD1Ev", it.destruct);
    find(library, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode",
         it.capture_begin);
    find(library, "_ZN2at4cuda9CUDAGraph11capture_endEv", it.capture_end);
    find(library, "_ZN2at4cuda9CUDAGraph6replayEv", it.replay);
    return it;
  }();
  return found;
}

// Only what this very thread does is recorded, and only this thread is kept from what would break a
// recording.
constexpr int cudaStreamCaptureModeThreadLocal = 1;

class Graph {
 public:
  Graph() { members().construct(place_, /*keep_graph=*/false); }
  ~Graph() { members().destruct(place_); }
  Graph(const Graph&) = delete;

  void* get() { return place_; }

 private:
  // Larger than the class (about 200 bytes in libtorch 2.11.0) is in any version.
  alignas(64) unsigned char place_[4096];
};

}  // namespace

extern "C" {

// What was current in a thread before f3_enter_stream.
struct F3Before {
  int64_t stream;         // of the device that is entered
  int8_t stream_device;
  int8_t device;
};

// Makes a device current, and on it a stream of its own, since CUDA records no default stream; what
// was given to the device before is waited for.
char* f3_enter_stream(int8_t index, F3Before* before) {
  return guarded([&] {
    const c10::Device device(c10::DeviceType::CUDA, index);
    const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
    guard.synchronizeDevice(index);
    before->device = guard.exchangeDevice(device).index();
    before->stream = guard.exchangeStream(guard.getStreamFromGlobalPool(device)).id();
    before->stream_device = index;
  });
}

// Makes current again what was; the device is waited for.
char* f3_leave_stream(const F3Before* before) {
  return guarded([&] {
    const c10::impl::VirtualGuardImpl guard(c10::DeviceType::CUDA);
    guard.exchangeStream(c10::Stream::unpack3(before->stream, before->stream_device,
                                              c10::DeviceType::CUDA));
    guard.setDevice(c10::Device(c10::DeviceType::CUDA, before->device));
    guard.synchronizeDevice(before->stream_device);  // last, since it fails where work has failed
  });
}

// From now on what is given to the current stream is recorded and not done.
char* f3_graph_begin(Graph** out) {
  return guarded([&] {
    auto graph = std::make_unique<Graph>();
    members().capture_begin(graph->get(), {0, 0}, cudaStreamCaptureModeThreadLocal);
    *out = graph.release();
  });
}

char* f3_graph_end(Graph* graph) {
  return guarded([&] { members().capture_end(graph->get()); });
}

char* f3_graph_replay(Graph* graph) {
  return guarded([&] { members().replay(graph->get()); });
}

char* f3_graph_free(Graph* graph) {
  return guarded([&] { delete graph; });
}

// Whether the members are all there; libtorch_cuda must have been loaded.
char* f3_graph_check() {
  return guarded([] { members(); });
}

}  // extern "C"
