// check_room(): memory in files is given page by page, and a machine that has none left kills a process for
// it. So a segment that cannot fit is refused before its first page is taken.
#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "shm/segment.h"

namespace banyan::shm {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t number_in(const std::string& path) {  // kUnlimited for "max", or no file
  std::ifstream file(path);
  std::uint64_t number = 0;
  return file >> number ? number : kUnlimited;
}

std::uint64_t machine_has_left() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  std::uint64_t kib = 0;
  while (file >> name >> kib) {
    if (name == "MemAvailable:") return kib * 1024;
    std::getline(file, unit);
  }
  return kUnlimited;
}

// Of our control group and those above it.
std::uint64_t group_has_left() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  std::uint64_t least = kUnlimited;
  while (std::getline(file, line)) {
    if (!line.starts_with("0::/")) continue;
    for (std::string path = line.substr(3);; path.erase(path.rfind('/'))) {
      const std::string folder = "/sys/fs/cgroup" + path;
      const std::uint64_t most = number_in(folder + "/memory.max"),
                          taken = number_in(folder + "/memory.current");
      if (most != kUnlimited && taken != kUnlimited) least = std::min(least, most - std::min(most, taken));
      if (path.rfind('/') == path.npos || path.empty()) break;
    }
  }
  return least;
}

}  // namespace

Result<Done> check_room(std::uint64_t bytes) {
  const std::uint64_t left = std::min(machine_has_left(), group_has_left());
  if (bytes <= left) return Done{};
  return Error{ErrorKind::kNoSpace, std::to_string(bytes) + " bytes are wanted, and " + std::to_string(left) +
                                        " bytes of memory are left"};
}

}  // namespace banyan::shm
