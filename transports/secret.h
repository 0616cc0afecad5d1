// transports/secret.h -- bytes that are wiped before they are given back: passwords, passphrases, private
// keys.
//
// Moved, never copied by accident, and never grows, so no copy is left behind. It cannot be printed: whoever
// wants its bytes says so. Thread: one at a time.
#pragma once

#include <string.h>

#include <string_view>
#include <utility>

#include "core/bytes.h"

namespace banyan {

constexpr std::size_t kSecretMax = 1'024;    // of what a person answers: PAM takes 512, ssh 1,023
constexpr unsigned kPassphraseTriesMax = 3;  // of one key, as ssh
constexpr std::size_t kPromptsMax = 16;      // of one question; honest servers have one or two
constexpr std::size_t kPromptTextMax = 1'024;

// What must not be found in memory later.
inline void wipe(Buffer& bytes) {
  if (bytes.data() != nullptr) ::explicit_bzero(bytes.data(), bytes.size());
  bytes.clear();
}

class Secret {
 public:
  Secret() = default;
  explicit Secret(Buffer bytes) : bytes_(std::move(bytes)) {}
  Secret(Secret&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Secret& operator=(Secret&& other) noexcept {
    if (this != &other) {
      wipe();
      bytes_ = std::exchange(other.bytes_, {});
    }
    return *this;
  }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret() { wipe(); }

  static Secret copy_of(Bytes bytes) { return Secret(Buffer(bytes.begin(), bytes.end())); }
  Secret copy() const { return copy_of(bytes_); }

  Bytes bytes() const { return bytes_; }
  std::string_view text() const { return as_text(bytes_); }
  bool empty() const { return bytes_.empty(); }
  void wipe() { banyan::wipe(bytes_); }

 private:
  Buffer bytes_;
};

}  // namespace banyan
