// The image that stage 0 and the loader bring up in the tests: says who it is, then gives back what it is
// given.
//
// After the beginning of a frame, by which the handshake knows that it is linked, one line:
// "<argv[0]> <argv[1]> <what it was executed from> <its umask> <open descriptors>". Then it reads a length of
// four bytes and that many more, gives them back, and ends; so a byte too many or too few on the way is seen.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/text.h"

using namespace banyan;

namespace {

bool read_all(void* to, std::size_t bytes) {
  for (auto* at = static_cast<char*>(to); bytes > 0;) {
    auto count = retry([&] { return ::read(0, at, bytes); });
    if (count <= 0) return false;
    at += count;
    bytes -= std::size_t(count);
  }
  return true;
}

int count_descriptors() {
  int count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (folder && ::readdir(folder)) ++count;
  return count - 3;  // ".", ".." and the folder itself
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 3;
  char from[256] = {};
  if (::readlink("/proc/self/exe", from, sizeof from - 1) < 0) return 4;
  std::string hello("BN\x01\x0b");
  hello += cat(std::string_view(argv[0]), " ", std::string_view(argv[1]), " ", std::string_view(from), " ",
               ::umask(022), " ", count_descriptors(), "\n");
  if (!write_all(1, hello.data(), hello.size())) return 5;

  std::uint8_t length[4];
  if (!read_all(length, sizeof length)) return 6;
  std::uint8_t part[4096];
  for (std::size_t left = load_le<std::uint32_t>(length); left > 0;) {
    std::size_t now = left < sizeof part ? left : sizeof part;
    if (!read_all(part, now) || !write_all(1, part, now)) return 7;
    left -= now;
  }
  return 0;
}
