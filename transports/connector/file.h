// transports/connector/file.h -- a small file, whole.
#pragma once

#include <string>

#include "core/bytes.h"
#include "core/result.h"

namespace banyan::connector {

// What an open descriptor holds from its beginning. The bytes lie in one place from the first on, so that a
// secret can be wiped; after an Error they have been. Errors are those of `error_class` and `phase`, and name
// `path`: no plain file, more than `max` bytes.
Result<Buffer> read_whole(int fd, const std::string& path, std::size_t max, ErrorClass error_class,
                          Phase phase);

}  // namespace banyan::connector
