// parent/answerer.h -- who answers what a transport's processes ask (parent/back_channel.h): whoever ordered
// the transport.
//
// Thread: the loop's.
#pragma once

#include <cstdint>

#include "core/bytes.h"
#include "core/function.h"

namespace banyan {

constexpr std::size_t kQuestionBytesMax = 32 * 1024;  // a host key with its certificate, twice

class Answerer {
 public:
  using OnAnswer = Function<void(Bytes)>;
  virtual ~Answerer() = default;
  // `visitor`: the connection it came by, from 1 on; one question at a time. `on_answer` at most once,
  // perhaps from within this call; no bytes: the visitor is shown out.
  virtual void ask(std::uint32_t visitor, Bytes question, OnAnswer on_answer) = 0;
};

}  // namespace banyan
