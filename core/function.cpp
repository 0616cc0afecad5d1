#include "core/function.h"

#include <cstring>

namespace banyan {

FunctionBase::FunctionBase(FunctionBase&& other) noexcept : kind_(std::exchange(other.kind_, nullptr)) {
  std::memcpy(held_, other.held_, sizeof held_);
}

FunctionBase& FunctionBase::operator=(FunctionBase&& other) noexcept {
  if (this == &other) return *this;
  const FunctionBase old(std::move(*this));
  kind_ = std::exchange(other.kind_, nullptr);
  std::memcpy(held_, other.held_, sizeof held_);
  return *this;
}

FunctionBase::~FunctionBase() {
  if (kind_ != nullptr && kind_->destroy != nullptr) kind_->destroy(held_[0]);
}

}  // namespace banyan
