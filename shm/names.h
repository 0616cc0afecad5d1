// shm/names.h -- a folder in which owners write down the tokens of what they share, one small file a name.
//
// It holds no rows: those are memory that ends with its last user. So what a crash can leave is a few hundred
// bytes, and whoever comes next sweeps them: each file says which process it belongs to, by number and start.
// The folder goes with its last name. It belongs to one user, mode 0700: others see nothing of it.
#pragma once

#include <string>
#include <string_view>

#include "shm/result.h"
#include "shm/segment.h"
#include "shm/token.h"

namespace banyan::shm {

// $XDG_RUNTIME_DIR/banyan-shm, or /dev/shm/banyan-UID where there is no such thing.
std::string default_folder();

class Names {
 public:
  explicit Names(std::string folder) : folder_(std::move(folder)) {}
  const std::string& folder() const { return folder_; }

  // kExists when a living process has that name. Sweeps.
  Result<Done> publish(const Token& token) const;
  // kNotFound; kGone when only what is left of a dead owner was found.
  Result<Token> find(std::string_view name) const;
  // Takes the name away if it still stands for this token.
  void withdraw(const Token& token) const;
  // Removes the names of owners that are gone; returns how many.
  Result<std::size_t> sweep() const;

 private:
  Result<Fd> open_folder(bool create) const;
  Result<Fd> lock_folder(bool create) const;
  void remove_if_empty(const Fd& folder) const;

  std::string folder_;
};

}  // namespace banyan::shm
