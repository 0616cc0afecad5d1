// core/fd.h -- a descriptor with one owner, and the system calls around it, retried on EINTR.
//
// Every descriptor made here is close-on-exec from birth.
#pragma once

#include <cerrno>
#include <cstddef>
#include <utility>

#include "core/result.h"

namespace banyan {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int number) : number_(number) {}
  Fd(Fd&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  int release() { return std::exchange(number_, -1); }
  void reset();

 private:
  int number_ = -1;
};

struct FdPair {
  Fd first, second;
};

// A connected pair of stream sockets.
Result<FdPair> make_socketpair();
// first is the reading end.
Result<FdPair> make_pipe();

// Calls until the answer is not EINTR.
template <class Call>
auto retry(Call call) {
  for (;;) {
    auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// Writes all of it, blocking; false when the other end is gone. For small texts on blocking descriptors only.
bool write_all(int fd, const void* data, std::size_t bytes);

}  // namespace banyan
