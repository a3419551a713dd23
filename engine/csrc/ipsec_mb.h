/* What of Intel's libipsec-mb the engine uses, with plain types. */
#ifndef CULVERT_IPSEC_MB_H
#define CULVERT_IPSEC_MB_H

#include <stdint.h>
#include <stddef.h>

struct culvert_mb;
struct culvert_key;

/* How a key's packets are protected. */
enum culvert_kind { CULVERT_GCM, CULVERT_CHACHA, CULVERT_CBC, CULVERT_CTR, CULVERT_NULL };

/* Beside a cipher that doesn't authenticate. */
enum culvert_hash { CULVERT_NO_HASH, CULVERT_SHA1, CULVERT_SHA256, CULVERT_SHA384, CULVERT_SHA512 };

/* One ESP packet, from the SPI to the end of the ICV; sealed or opened in place. */
struct culvert_packet {
    const struct culvert_key *key;
    uint8_t *esp;
    size_t octets;
    uint64_t number;
    uint32_t right; /* of opening: whether it is authentic */
};

/* NULL where the library doesn't work on this processor. `words` says which version and which instructions. */
struct culvert_mb *culvert_mb_new(char *words, size_t words_octets);
void culvert_mb_free(struct culvert_mb *mb);

/* `cipher_key` without its salt. NULL where there is no memory. */
struct culvert_key *culvert_key_new(struct culvert_mb *mb, enum culvert_kind kind, const uint8_t *cipher_key,
                                    size_t key_octets, const uint8_t *salt, enum culvert_hash hash,
                                    const uint8_t *auth_key, size_t auth_octets, size_t iv_octets, size_t icv_octets,
                                    int esn);
void culvert_key_free(struct culvert_key *key);
size_t culvert_key_octets(enum culvert_kind kind);

/* IVs stand in the packets already. */
void culvert_seal(struct culvert_mb *mb, struct culvert_packet *packets, size_t count);
void culvert_open(struct culvert_mb *mb, struct culvert_packet *packets, size_t count);

#endif
