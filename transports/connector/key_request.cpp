#include "transports/connector/key_request.h"

#include <algorithm>

#include "core/assert.h"
#include "transports/connector/wire.h"

namespace banyan::connector {

KeyRequest::KeyRequest(Bytes public_blob, std::string_view algorithm)
    : algorithm_(algorithm), blob_(public_blob.begin(), public_blob.end()), shown_(blob_) {
  if (WireReader(blob_).text() == algorithm) return;
  Buffer name;
  put_string(name, algorithm);
  ASSERT(name.size() < shown_.size());
  std::ranges::copy(name, shown_.begin());
  step_ = Step::kNameShown;
}

void KeyRequest::on_allocation(std::size_t bytes) {
  if (step_ == Step::kNameTaken) {
    std::ranges::copy(blob_, shown_.begin());  // in its place: libssh2 has a pointer to it
    step_ = Step::kKeyShown;
  }
  if (step_ == Step::kNameShown && bytes == algorithm_.size()) step_ = Step::kNameTaken;
}

bool KeyRequest::is_asked_in(Bytes data) const {
  Buffer end;
  put_string(end, algorithm_);
  put_string(end, blob_);
  return data.size() > end.size() && std::ranges::equal(data.last(end.size()), end);
}

}  // namespace banyan::connector
