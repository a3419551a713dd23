/* What of Intel's libipsec-mb the engine uses, with plain types. */
#ifndef CULVERT_IPSEC_MB_H
#define CULVERT_IPSEC_MB_H

#include <stdint.h>
#include <stddef.h>

struct culvert_mb;
struct culvert_key;

/* How a key's packets are protected. */
enum culvert_kind {
    CULVERT_GCM,
    CULVERT_GMAC,
    CULVERT_CHACHA,
    CULVERT_CCM,
    CULVERT_CBC,
    CULVERT_CTR,
    CULVERT_TRIPLE_DES,
    CULVERT_NULL
};

/* Beside a cipher that doesn't authenticate. */
enum culvert_hash {
    CULVERT_NO_HASH,
    CULVERT_MD5,
    CULVERT_SHA1,
    CULVERT_SHA256,
    CULVERT_SHA384,
    CULVERT_SHA512,
    CULVERT_XCBC,
    CULVERT_CMAC
};

/* All that an SA says. `cipher_key` is without its salt. */
struct culvert_terms {
    enum culvert_kind kind;
    enum culvert_hash hash;
    const uint8_t *cipher_key, *salt, *auth_key;
    size_t key_octets, salt_octets, auth_octets, iv_octets, icv_octets;
    int esn;
};

/* One ESP packet, from the SPI to the end of the ICV, no longer than an IP packet; sealed or opened in place. */
struct culvert_packet {
    const struct culvert_key *key;
    uint8_t *esp;
    size_t octets;
    uint64_t number;
    uint32_t right; /* sealed, or found authentic; if not, the text is all zeros */
};

/* NULL where the library doesn't work on this processor. `words` says which version and which instructions. */
struct culvert_mb *culvert_mb_new(char *words, size_t words_octets);
void culvert_mb_free(struct culvert_mb *mb);

/* NULL where there is no memory. `old` goes, if it isn't NULL. */
struct culvert_key *culvert_key_new(struct culvert_mb *mb, const struct culvert_terms *terms, struct culvert_key *old);
void culvert_key_free(struct culvert_key *key);
size_t culvert_key_octets(const struct culvert_key *key);

/* IVs stand in the packets already. */
void culvert_seal(struct culvert_mb *mb, struct culvert_packet *packets, size_t count);
void culvert_open(struct culvert_mb *mb, struct culvert_packet *packets, size_t count);

/* For the bench: what the library alone needs for the same octets. Of AES-GCM, ChaCha20-Poly1305, and AES-CBC with HMAC
 * of SHA-1 or SHA-256; whether it is one of these. */
int culvert_bare(struct culvert_mb *mb, struct culvert_packet *packets, size_t count, int encrypt);

#endif
