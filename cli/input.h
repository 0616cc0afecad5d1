// cli/input.h -- our standard input, read by a thread, a bounded piece at a time.
//
// Only one piece is under way: the next is read when the last was taken, so a command that does not read
// keeps the rest in the pipe it came from.
//
// Thread: the loop's; the reading thread sees the descriptor only. The loop outlives it.
#pragma once

#include <functional>
#include <memory>

#include "core/bytes.h"
#include "core/loop.h"

namespace banyan::cli {

class InputReader {
 public:
  static constexpr std::size_t kPieceMax = 256 * 1024;  // four full frames: enough to keep a link busy

  // `on_piece` with an empty piece: the end, and nothing after it. `on_failed` once, with errno: no more can
  // be read, and nobody knows how much is missing; nothing after it either.
  InputReader(Loop& loop, int fd, std::function<void(Buffer)> on_piece,
              std::function<void(int error)> on_failed);
  InputReader(const InputReader&) = delete;
  InputReader& operator=(const InputReader&) = delete;
  ~InputReader();  // stops reading, whatever the thread waits for

  // The last piece was used up: read the next.
  void go_on();

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace banyan::cli
