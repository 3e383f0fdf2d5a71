#include "txn/record_codec.hh"

#include <bit>

#include "be/base/assert.hh"
#include "pagecache/page_writer.hh"

namespace pleach::txn {

namespace {

/// RETURNS: the first granule at or after `from` whose bit is `value`, at most words * 64.
u32 next_bit(const u64* map, u32 words, u32 from, bool value) {
  u32 w = from / 64;
  if (w >= words) return words * 64;
  u64 v = (value ? map[w] : ~map[w]) & ~u64{0} << from % 64;
  while (v == 0) {
    if (++w == words) return words * 64;
    v = value ? map[w] : ~map[w];
  }
  return w * 64 + static_cast<u32>(std::countr_zero(v));
}

u32 varint_bytes(u32 v) {
  u32 n = 1;
  for (; v >= 0x80; v >>= 7) ++n;
  return n;
}
std::byte* put_varint(std::byte* p, u32 v) {
  for (; v >= 0x80; v >>= 7) *p++ = static_cast<std::byte>(v | 0x80);
  *p++ = static_cast<std::byte>(v);
  return p;
}
/// RETURNS: false if the bytes end or the number needs more than 28 bits.
bool get_varint(const std::byte*& p, const std::byte* end, u32& v) {
  v = 0;
  for (u32 shift = 0; shift < 28; shift += 7) {
    if (p == end) return false;
    u32 b = static_cast<u32>(*p++);
    v |= (b & 0x7f) << shift;
    if (b < 0x80) return true;
  }
  return false;
}

/// Calls fn(gap, first, count) for each run, all in granules.
template <class F>
void for_each_run(const u64* map, u32 words, F&& fn) {
  u32 end = 0;
  for (;;) {
    u32 first = next_bit(map, words, end, true);
    if (first == words * 64) return;
    u32 stop = next_bit(map, words, first, false);
    fn(first - end, first, stop - first);
    end = stop;
  }
}

}  // namespace

map_measure measure_map(const u64* map, u32 words) {
  map_measure m;
  for_each_run(map, words, [&](u32 gap, u32, u32 count) {
    ++m.runs;
    m.body_bytes += varint_bytes(gap) + varint_bytes(count) + u64{count} * capture_granule_bytes;
  });
  return m;
}

u64 encode_page(std::vector<std::byte>& out, page_ref ref, u8 flags, const std::byte* page,
                const u64* map, u32 words, u64 sum, bool omit_last_run) {
  map_measure m = measure_map(map, words);
  u64 begin = out.size();
  out.resize(begin + sizeof(record_header) + m.body_bytes);
  std::byte* p = out.data() + begin + sizeof(record_header) + sizeof(page_body);
  u32 left = m.runs, written = 0;
  u64 captured = 0;
  for_each_run(map, words, [&](u32 gap, u32 first, u32 count) {
    if (--left == 0 && omit_last_run) return;
    p = put_varint(p, gap);
    p = put_varint(p, count);
    std::memcpy(p, page + u64{first} * capture_granule_bytes, u64{count} * capture_granule_bytes);
    p += u64{count} * capture_granule_bytes;
    captured += u64{count} * capture_granule_bytes;
    ++written;
  });
  out.resize(static_cast<u64>(p - out.data()));
  record_header h{};
  h.type = static_cast<u8>(record_type::page);
  h.flags = static_cast<u8>(flags | RECORD_MUST_UNDERSTAND);
  h.length = static_cast<u32>(out.size() - begin - sizeof h);
  page_body b{};
  b.addr = ref.addr.raw;
  b.gen = ref.gen;
  b.runs = written;
  b.sum = sum;
  std::memcpy(out.data() + begin, &h, sizeof h);
  std::memcpy(out.data() + begin + sizeof h, &b, sizeof b);
  return captured;
}

void encode_free(std::vector<std::byte>& out, page_ref ref) {
  u64 begin = out.size();
  out.resize(begin + sizeof(record_header) + sizeof(free_body));
  record_header h{};
  h.type = static_cast<u8>(record_type::free);
  h.flags = RECORD_MUST_UNDERSTAND;
  h.length = static_cast<u32>(sizeof(free_body));
  free_body b{};
  b.addr = ref.addr.raw;
  b.gen = ref.gen;
  std::memcpy(out.data() + begin, &h, sizeof h);
  std::memcpy(out.data() + begin + sizeof h, &b, sizeof b);
}

status apply_page(cbytes body, bytes page) {
  if (body.size() < sizeof(page_body)) return fail(errc::bad_record);
  u32 runs = reinterpret_cast<const page_body*>(body.data())->runs;
  const std::byte* p = body.data() + sizeof(page_body);
  const std::byte* end = body.data() + body.size();
  u64 at = 0;
  for (; runs > 0; --runs) {
    u32 gap, count;
    if (!get_varint(p, end, gap) || !get_varint(p, end, count) || count == 0)
      return fail(errc::bad_record);
    at += u64{gap} * capture_granule_bytes;
    u64 length = u64{count} * capture_granule_bytes;
    if (at + length > page.size() || length > static_cast<u64>(end - p))
      return fail(errc::bad_record);
    std::memcpy(page.data() + at, p, length);
    p += length;
    at += length;
  }
  if (p != end) return fail(errc::bad_record);
  return {};
}

}  // namespace pleach::txn
