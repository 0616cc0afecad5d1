// Goal: whatever a connector that was taken over says, the root takes it as one of five messages or as none;
// and what an order means survives its encoding.
// Method: the input as a message in both directions; what decodes is encoded and must decode to the same.
#include "core/assert.h"
#include "transports/connector_protocol.h"

using namespace banyan;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes message(data, size);
  if (const Result<FromConnector> from = decode_from_connector(message)) {
    const Buffer again = encode(*from);
    ASSERT(again.size() <= kConnectorMessageMax);
    const Result<FromConnector> same = decode_from_connector(again);
    ASSERT(same && encode(*same) == again);
    if (const auto* end = std::get_if<SessionEnd>(&*from); end != nullptr && end->error)
      ASSERT(std::uint8_t(end->error->error_class) < kErrorClassCount &&
             std::uint8_t(end->error->phase) < kPhaseCount);
  }
  if (const Result<ToConnector> to = decode_to_connector(message)) {
    const Buffer again = encode(*to);
    const Result<ToConnector> same = decode_to_connector(again);
    ASSERT(same && encode(*same) == again);
  }
  return 0;
}
