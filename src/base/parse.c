/* SPDX-License-Identifier: Apache-2.0 */
/* Strict numbers: no blanks, no signs where none belong, no overflow. The caller knows the place and has the words. */
#include <rehome/bytes.h>

enum rh_status rh_parse_u64(struct rh_bytes text, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (text.size == 0)
        return RH_E_USAGE;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = text.data[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(value, 10u, &value) || __builtin_add_overflow(value, digit, &value))
            return RH_E_USAGE;
    }
    *ret_value = value;
    return RH_OK;
}

enum rh_status rh_parse_i64(struct rh_bytes text, int64_t *ret_value)
{
    bool negative = text.size && text.data[0] == '-';
    if (negative)
        text = rh_bytes(text.data + 1, text.size - 1);
    uint64_t value;
    if (rh_parse_u64(text, &value) || value > (uint64_t)INT64_MAX + negative)
        return RH_E_USAGE;
    *ret_value = negative ? (int64_t)(0 - value) : (int64_t)value;
    return RH_OK;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* Digits and then one of the units (which end with a NULL name; "" is the plain number's). */
static enum rh_status parse_unit(struct rh_bytes text, const struct unit *units, uint64_t *ret_value)
{
    size_t digits = 0;
    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    uint64_t value;
    if (rh_parse_u64(rh_bytes(text.data, digits), &value))
        return RH_E_USAGE;
    struct rh_bytes name = rh_bytes(text.data + digits, text.size - digits);
    for (; units->name; units++)
        if (rh_bytes_equal(name, rh_bytes_text(units->name)))
            return __builtin_mul_overflow(value, units->factor, ret_value) ? RH_E_USAGE : RH_OK;
    return RH_E_USAGE;
}

enum rh_status rh_parse_duration(struct rh_bytes text, int64_t *ret_us)
{
    static const struct unit units[] = {
        {"",   1000000   },
        {"s",  1000000   },
        {"ms", 1000      },
        {"us", 1         },
        {"m",  60000000  },
        {"h",  3600000000},
        {NULL, 0         },
    };
    uint64_t value = 0;
    if (parse_unit(text, units, &value) || value > INT64_MAX)
        return RH_E_USAGE;
    *ret_us = (int64_t)value;
    return RH_OK;
}

enum rh_status rh_parse_size(struct rh_bytes text, uint64_t *ret_bytes)
{
    static const struct unit units[] = {
        {"",    1                },
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
        {NULL,  0                },
    };
    uint64_t value = 0;
    if (parse_unit(text, units, &value))
        return RH_E_USAGE;
    *ret_bytes = value;
    return RH_OK;
}
