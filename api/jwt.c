/* The happy path of a check: cut in three, read header and claims by our own strict JSON, find the
 * key by `kid`, let libjwt verify the signature, compare what libjwt believes with what we pinned,
 * judge the times. Failure modes are all the same to the caller (not authenticated) but for a
 * genuine token that is over.
 */
#include "api/jwt.h"

#include <jwt.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/hash.h"
#include "broker/base/json.h"
#include "gen/api/operations.h"

#define JWT_KEYS_MAX 4
#define JWT_KID_MAX  32

struct jwt_key {
    char kid[JWT_KID_MAX + 1];
    char *public_pem, *private_pem; /* NUL-terminated; libjwt wants text */
    char x[44], y[44];              /* base64url */
};

struct jwt_keys {
    struct jwt_key keys[JWT_KEYS_MAX];
    int count;
    char issuer[201];
};

static enum err_code refuse(const char *why, const char **ret_why);

/* ---- keys */

void jwt_keys_make_pem(struct buf *to)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    must(key != NULL && bio != NULL);
    must(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1);
    long len = BIO_get_mem_data(bio, &text);
    buf_add(to, text, (size_t)len);
    BIO_free(bio);
    EVP_PKEY_free(key);
}

static char *pem_text(EVP_PKEY *key, int (*write)(BIO *bio, EVP_PKEY *key))
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    must(bio != NULL && write(bio, key) == 1);
    size_t len = (size_t)BIO_get_mem_data(bio, &text);
    char *copy = malloc(len + 1);
    must(copy != NULL && len > 0);
    memcpy(copy, text, len);
    copy[len] = '\0';
    BIO_free(bio);
    return copy;
}

static int write_private(BIO *bio, EVP_PKEY *key)
{
    return PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
}

static int write_public(BIO *bio, EVP_PKEY *key)
{
    return PEM_write_bio_PUBKEY(bio, key);
}

/* kid is the front of the RFC 7638 thumbprint, so that the same key has the same name everywhere.
 */
static void name_key(struct jwt_key *key)
{
    char text[256], digest[45];
    str_format(text, sizeof(text), "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
               key->x, key->y);
    struct sha256 hash = sha256_of(text, strlen(text));
    base64url_encode(hash.bytes, sizeof(hash.bytes), digest);
    str_format(key->kid, sizeof(key->kid), "%.16s", digest);
}

static bool load_key(EVP_PKEY *pkey, struct jwt_key *ret)
{
    char group[32] = "";
    uint8_t point[65];
    size_t len = 0;
    if (EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                       &len) != 1 ||
        strcmp(group, "prime256v1") != 0)
        return false;
    EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                   "uncompressed");
    if (EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point),
                                        &len) != 1 ||
        len != sizeof(point))
        return false;
    base64url_encode(point + 1, 32, ret->x);
    base64url_encode(point + 33, 32, ret->y);
    ret->private_pem = pem_text(pkey, write_private);
    ret->public_pem = pem_text(pkey, write_public);
    name_key(ret);
    return true;
}

struct jwt_keys *jwt_keys_create(struct str pem, const char *issuer)
{
    struct jwt_keys *keys = calloc(1, sizeof(*keys));
    must(keys != NULL);
    str_format(keys->issuer, sizeof(keys->issuer), "%s", issuer);
    BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
    bool is_good = bio != NULL;
    EVP_PKEY *pkey;
    while (is_good && keys->count < JWT_KEYS_MAX &&
           (pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL)) != NULL) {
        is_good = load_key(pkey, &keys->keys[keys->count]);
        keys->count += is_good;
        EVP_PKEY_free(pkey);
    }
    BIO_free(bio);
    if (is_good && keys->count > 0)
        return keys;
    jwt_keys_destroy(keys);
    return NULL;
}

void jwt_keys_destroy(struct jwt_keys *keys)
{
    if (keys == NULL)
        return;
    for (int i = 0; i < keys->count; i++) {
        OPENSSL_cleanse(keys->keys[i].private_pem, strlen(keys->keys[i].private_pem));
        free(keys->keys[i].private_pem);
        free(keys->keys[i].public_pem);
    }
    free(keys);
}

void jwt_keys_write(const struct jwt_keys *keys, struct buf *to)
{
    struct json_out out;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_array_open(&out, "keys");
    for (int i = 0; i < keys->count; i++) {
        json_object_open(&out, NULL);
        json_put_c(&out, "kty", "EC");
        json_put_c(&out, "crv", "P-256");
        json_put_c(&out, "x", keys->keys[i].x);
        json_put_c(&out, "y", keys->keys[i].y);
        json_put_c(&out, "kid", keys->keys[i].kid);
        json_put_c(&out, "alg", "ES256");
        json_put_c(&out, "use", "sig");
        json_object_close(&out);
    }
    json_array_close(&out);
    json_object_close(&out);
}

/* ---- scopes */

static enum scope scope_of(struct str word)
{
    for (int scope = 1; scope <= SCOPE_AUDIT; scope++) {
        if (str_equal_c(word, scope_text((enum scope)scope)))
            return (enum scope)scope;
    }
    return (enum scope)0;
}

bool scopes_parse(struct str text, char separator, uint32_t *ret)
{
    uint32_t scopes = 0;
    for (struct str rest = text; rest.len > 0;) {
        enum scope scope = scope_of(str_trim(str_cut(&rest, separator)));
        if ((int)scope == 0)
            return false;
        scopes |= 1u << scope;
    }
    *ret = scopes;
    return true;
}

void scopes_write(uint32_t scopes, char separator, struct buf *to)
{
    const char *before = "";
    char between[2] = {separator, '\0'};
    for (int scope = 1; scope <= SCOPE_AUDIT; scope++) {
        if ((scopes & 1u << scope) == 0)
            continue;
        buf_add_format(to, "%s%s", before, scope_text((enum scope)scope));
        before = between;
    }
}

/* ---- making */

void jwt_token_make(const struct jwt_keys *keys, const struct jwt_claims *claims, struct buf *to)
{
    const struct jwt_key *key = &keys->keys[0];
    struct buf scopes = {0};
    char account[ID_TEXT_SIZE], api_key[ID_TEXT_SIZE];
    jwt_t *jwt = NULL;
    must(claims->expires_at_s - claims->issued_at_s <= JWT_TTL_MAX_S);
    scopes_write(claims->scopes, ' ', &scopes);
    buf_add(&scopes, "", 1);
    must(jwt_new(&jwt) == 0);
    must(jwt_add_header(jwt, "kid", key->kid) == 0);
    must(jwt_add_grant(jwt, "iss", keys->issuer) == 0);
    must(jwt_add_grant(jwt, "aud", JWT_AUDIENCE) == 0);
    must(jwt_add_grant(jwt, "sub", account_id_text(claims->account_id, account)) == 0);
    must(jwt_add_grant(jwt, "key", api_key_id_text(claims->key_id, api_key)) == 0);
    must(jwt_add_grant(jwt, "scope", scopes.at) == 0);
    must(jwt_add_grant(jwt, "mode", claims->is_test ? "test" : "live") == 0);
    must(jwt_add_grant_int(jwt, "iat", claims->issued_at_s) == 0);
    must(jwt_add_grant_int(jwt, "nbf", claims->issued_at_s) == 0);
    must(jwt_add_grant_int(jwt, "exp", claims->expires_at_s) == 0);
    must(jwt_set_alg(jwt, JWT_ALG_ES256, (const unsigned char *)key->private_pem,
                     (int)strlen(key->private_pem)) == 0);
    char *token = jwt_encode_str(jwt);
    must(token != NULL);
    buf_add_c(to, token);
    free(token);
    jwt_free(jwt);
    buf_finish(&scopes);
}

/* ---- checking */

struct parts {
    struct str header, claims, signature;
};

static bool cut_in_three(struct str token, struct parts *ret)
{
    struct str rest = token;
    ret->header = str_cut(&rest, '.');
    ret->claims = str_cut(&rest, '.');
    ret->signature = rest;
    uint8_t signature[64];
    return ret->header.len > 0 && ret->claims.len > 0 && ret->signature.len > 0 &&
           base64url_decode(ret->signature, signature, sizeof(signature)) == sizeof(signature);
}

/* Decodes one part strictly; NULL unless it is a JSON object. */
static json_t *read_part(struct str part)
{
    uint8_t bytes[JWT_SIZE_MAX];
    char why[128];
    ptrdiff_t len = base64url_decode(part, bytes, sizeof(bytes));
    if (len < 0)
        return NULL;
    struct str text = {.at = (const char *)bytes, .len = (size_t)len};
    json_t *json = json_parse(text, why, sizeof(why));
    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

static const struct jwt_key *key_of_header(const struct jwt_keys *keys, const json_t *header)
{
    struct str kid = json_str(header, "kid");
    if (json_object_size(header) != 3 || !str_equal_c(json_str(header, "alg"), "ES256") ||
        !str_equal_c(json_str(header, "typ"), "JWT") || kid.len > JWT_KID_MAX)
        return NULL;
    for (int i = 0; i < keys->count; i++) {
        if (str_equal_c(kid, keys->keys[i].kid))
            return &keys->keys[i];
    }
    return NULL;
}

static bool signature_is_good(const struct jwt_key *key, struct str token)
{
    char text[JWT_SIZE_MAX + 1];
    jwt_t *jwt = NULL;
    size_t key_len = strlen(key->public_pem);
    must(key_len > 0); /* without a key libjwt would accept anything */
    memcpy(text, token.at, token.len);
    text[token.len] = '\0';
    if (jwt_decode(&jwt, text, (const unsigned char *)key->public_pem, (int)key_len) != 0)
        return false;
    bool is_es256 = jwt_get_alg(jwt) == JWT_ALG_ES256;
    jwt_free(jwt);
    return is_es256;
}

static bool read_claims(const struct jwt_keys *keys, const json_t *json, struct jwt_claims *ret)
{
    const json_t *exp = json_object_get(json, "exp"), *nbf = json_object_get(json, "nbf"),
                 *iat = json_object_get(json, "iat");
    struct str mode = json_str(json, "mode");
    if (!json_is_integer(exp) || !json_is_integer(nbf) || !json_is_integer(iat))
        return false;
    ret->issued_at_s = json_integer_value(iat);
    ret->expires_at_s = json_integer_value(exp);
    ret->is_test = str_equal_c(mode, "test");
    return json_integer_value(nbf) == ret->issued_at_s && ret->issued_at_s > 0 &&
           ret->expires_at_s > ret->issued_at_s &&
           ret->expires_at_s - ret->issued_at_s <= JWT_TTL_MAX_S &&
           (ret->is_test || str_equal_c(mode, "live")) &&
           str_equal_c(json_str(json, "iss"), keys->issuer) &&
           str_equal_c(json_str(json, "aud"), JWT_AUDIENCE) &&
           account_id_parse(json_str(json, "sub"), &ret->account_id) &&
           api_key_id_parse(json_str(json, "key"), &ret->key_id) &&
           json_is_string(json_object_get(json, "scope")) &&
           scopes_parse(json_str(json, "scope"), ' ', &ret->scopes);
}

static enum err_code refuse(const char *why, const char **ret_why)
{
    *ret_why = why;
    return ERR_UNAUTHENTICATED;
}

static enum err_code judge_times(const struct jwt_claims *claims, int64_t now_s,
                                 const char **ret_why)
{
    if (claims->issued_at_s > now_s + JWT_SKEW_S)
        return refuse("the token is not valid yet", ret_why);
    if (claims->expires_at_s <= now_s) {
        *ret_why = "the token has expired";
        return ERR_TOKEN_EXPIRED;
    }
    return ERR_OK;
}

enum err_code jwt_token_check(const struct jwt_keys *keys, struct str token, int64_t now_s,
                              struct jwt_claims *ret, const char **ret_why)
{
    struct parts parts;
    struct jwt_claims claims = {0};
    if (token.len > JWT_SIZE_MAX || !cut_in_three(token, &parts))
        return refuse("the token is not a compact JWT", ret_why);
    json_t *header = read_part(parts.header);
    const struct jwt_key *key = header != NULL ? key_of_header(keys, header) : NULL;
    json_decref(header);
    if (key == NULL)
        return refuse("the token's header is not one of ours", ret_why);
    json_t *body = read_part(parts.claims);
    bool is_readable = body != NULL && read_claims(keys, body, &claims);
    json_decref(body);
    if (!is_readable)
        return refuse("the token's claims are not ours", ret_why);
    if (!signature_is_good(key, token))
        return refuse("the token's signature does not fit", ret_why);
    enum err_code err = judge_times(&claims, now_s, ret_why);
    if (err == ERR_OK)
        *ret = claims;
    return err;
}
