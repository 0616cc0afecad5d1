// cli/usage_error.h -- what the person at the keyboard got wrong. Exit code 2, and nothing was contacted.
#pragma once

#include <stdexcept>

namespace banyan::cli {

class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace banyan::cli
