#include "launch/device.h"

#include <sched.h>

#include <algorithm>
#include <string>

#include "kernels/cuda_backend.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/process_id.h"
#include "src/comm/collectives.h"
#include "src/comm/device_place.h"
#include "src/comm/nccl_comm.h"
#include "src/plan/device_memory.h"

namespace mpiquant {
namespace {

// "nccl" or "mpi": what is asked for, else NCCL where this build has it.
std::string reduce_of(const options::variables_map& values) {
  if (values.count("reduce") == 0) return nccl_version() == "none" ? "mpi" : "nccl";
  const std::string reduce = values["reduce"].as<std::string>();
  check(reduce == "nccl" || reduce == "mpi", ExitCode::kUsage, "--reduce {} (GPUs exchange their sums by it) use nccl or mpi",
        reduce);
  return reduce;
}

std::string device_of(const options::variables_map& values) {
  const std::string device = values.count("device") == 0 ? "auto" : values["device"].as<std::string>();
  check(device != "mps", ExitCode::kUsage,
        "--device mps: Apple GPUs are not supported (the kernels are written for CPUs and NVIDIA GPUs) use --device cpu, which "
        "runs on "
        "Apple processors, too");
  check(device == "auto" || device == "cpu" || device == "cuda", ExitCode::kUsage,
        "--device {} is unknown (known: auto, cpu, cuda)", device);
  return device;
}

// Whether Hessians are factored in fp64.
bool double_factor(const options::variables_map& values, bool gpu) {
  if (values.count("factor-type") == 0) return !gpu;
  const std::string type = values["factor-type"].as<std::string>();
  check(type == "f32" || type == "f64", ExitCode::kUsage, "--factor-type {} (Hessians are factored in it) use f32 or f64", type);
  check(gpu || type == "f64", ExitCode::kUsage,
        "--factor-type f32 needs a GPU (the CPU's factors are made in f64 alone) leave it away, or use --device cuda");
  return type == "f64";
}

// Threads started from here on run beside the GPU, within what the launcher allows.
void bind_to(const std::vector<int>& cpus) {
  cpu_set_t allowed, wanted;
  CPU_ZERO(&wanted);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (const int cpu : cpus)
    if (cpu < CPU_SETSIZE && CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &wanted);
  if (CPU_COUNT(&wanted) > 0) sched_setaffinity(0, sizeof wanted, &wanted);
}

// This rank's number among those of its host, in the order of ranks.
int number_on_host(Communicator& world, const std::string& host) {
  const std::vector<std::string> hosts = all_gather_strings(world, host);
  return static_cast<int>(std::count(hosts.begin(), hosts.begin() + world.rank(), host));
}

}  // namespace

options::options_description device_options(bool factors) {
  options::options_description group("Device");
  group.add_options()  //
      ("device", hinted({.placeholder = "NAME", .choices = {"auto", "cpu", "cuda"}, .fallback = "auto"}),
       "where matrix work happens; auto takes NVIDIA GPUs when every rank sees one")  //
      ("reduce", hinted({.placeholder = "WAY", .choices = {"nccl", "mpi"}, .fallback = "nccl where this build has it"}),
       "how GPUs exchange their sums; mpi goes through the host's memory and lets ranks share a GPU");
  if (factors)
    group.add_options()  //
        ("factor-type", hinted({.placeholder = "TYPE", .choices = {"f32", "f64"}, .fallback = "f32 on GPUs, f64 on CPUs"}),
         "in what Hessians are factored; CPUs have f64 alone");
  return group;
}

std::unique_ptr<Backend> make_backend(const options::variables_map& values, Communicator& world, int threads,
                                      ComputeType compute) {
  std::string device, reduce;
  CudaMachine machine;
  bool lacks_gpu = true;
  agree(world, attempt([&] {
          device = device_of(values);
          reduce = reduce_of(values);
          if (device != "cpu") machine = cuda_machine();
          if (device == "auto" && machine.unfit) log_warning("no GPU is used: " + machine.problem);
          lacks_gpu = machine.devices.empty();
          check(device != "cuda" || !lacks_gpu, ExitCode::kEnvironment, "--device cuda: {}", machine.problem);
        }));
  if (max_over<std::int64_t>(world, lacks_gpu ? 1 : 0) != 0) {
    std::unique_ptr<Backend> cpu;
    agree(world, attempt([&] {
            double_factor(values, false);
            cpu = make_cpu_backend(threads, compute);
          }));
    return cpu;
  }

  const std::string host = host_name();
  const int on_host = number_on_host(world, host);
  const bool share = reduce == "mpi";
  CudaOptions options;
  std::string place, line, library;
  agree(world, attempt([&] {
          options.device =
              choose_device(local_rank(process_env).value_or(on_host), static_cast<int>(machine.devices.size()), share);
          const CudaDevice& mine = machine.devices[static_cast<std::size_t>(options.device)];
          const NearDevice near = near_device(mine.pci_id);
          bind_to(near.cpus);
          place = host + " " + mine.pci_id;
          line = fmt::format("rank {} on {}: {}, {} MB, PCI {}, NUMA node {}", world.rank(), host, mine.name, mine.memory >> 20,
                             mine.pci_id, near.numa_node < 0 ? std::string("unknown") : std::to_string(near.numa_node));
          options.compute = compute;
          if (!share) library = nccl_version();
          options.double_factor = double_factor(values, true);
          options.streams = std::clamp(threads, 1, kDeviceStreams);
        }));
  const std::vector<std::string> places = all_gather_strings(world, place), lines = all_gather_strings(world, line),
                                 nccl = all_gather_strings(world, library);
  const auto sharing = static_cast<std::size_t>(std::count(places.begin(), places.end(), place));
  std::unique_ptr<Backend> backend;
  agree(world, attempt([&] {
          check_nccl_versions(nccl);
          check(sharing == 1 || share, ExitCode::kUsage,
                "{} ranks have the same GPU ({}), and NCCL needs one for each (more ranks than GPUs were started, or all see the "
                "same one) "
                "start one rank a GPU, or use --reduce mpi",
                sharing, place);
          if (sharing > 1) options.memory = machine.devices[static_cast<std::size_t>(options.device)].memory / 10 * 8 / sharing;
          backend = make_cuda_backend(options);
        }));
  for (const std::string& each : lines) info_line("{}", each);
  return backend;
}

void connect_devices(const options::variables_map& values, const Backend& backend, Grid& grid) {
  if (backend.space() != MemSpace::kDevice) return;
  int device = 0;
  agree(*grid.world, attempt([&] { device = backend.device_index(); }));
  grid.group = reduce_of(values) == "nccl" && grid.group->size() > 1 ? make_nccl_comm(std::move(grid.group), device)
                                                                     : make_cuda_staged_comm(std::move(grid.group), device);
}

}  // namespace mpiquant
