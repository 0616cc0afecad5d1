#include "shm/process.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace banyan::shm {

std::uint64_t start_of(std::uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');  // the name may hold anything
  if (name_end == line.npos) return 0;
  std::istringstream words(line.substr(name_end + 1));
  std::string state, skipped;
  words >> state;
  if (state == "Z" || state == "X") return 0;
  for (int i = 0; i < 18; ++i) words >> skipped;  // ppid to itrealvalue
  std::uint64_t start = 0;
  words >> start;
  return start;
}

std::uint64_t own_space() {
  struct stat status {};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

Owner this_process() {
  const auto pid = std::uint32_t(::getpid());
  return {pid, start_of(pid), own_space()};
}

bool may_live(const Owner& owner) {
  return owner.space != own_space() || start_of(owner.pid) == owner.start;
}

}  // namespace banyan::shm
