#include "transports/connector/file.h"

#include <openssl/crypto.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "core/fd.h"
#include "core/text.h"

namespace banyan::connector {

Result<Buffer> read_whole(int fd, const std::string& path, std::size_t max, ErrorClass error_class,
                          Phase phase) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return system_error(error_class, phase, cat("stat ", path), errno);
  if (!S_ISREG(info.st_mode)) return Error(error_class, phase, cat(path, " is no plain file"));
  if (std::uint64_t(info.st_size) > max)
    return Error(error_class, phase, cat(path, " is larger than ", max, " bytes"));
  Buffer bytes(std::size_t(info.st_size));
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got =
        retry([&] { return ::pread(fd, bytes.data() + have, bytes.size() - have, off_t(have)); });
    if (got < 0) {
      const int error_number = errno;
      OPENSSL_cleanse(bytes.data(), have);
      return system_error(error_class, phase, cat("read ", path), error_number);
    }
    if (got == 0) break;  // it has become shorter
    have += std::size_t(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace banyan::connector
