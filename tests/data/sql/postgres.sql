-- window
SELECT
  p."at" AS "at",
  p."prediction" AS "prediction",
  p."score" AS "score",
  p."version" AS "version",
  p."price" AS "price",
  p."Größe" AS "Größe",
  p."city" AS "city",
  p."joined" AS "joined"
FROM "sales"."predictions" AS p
WHERE
  p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
  AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
  AND p."day" <= CAST('2023-11-17' AS DATE)
  AND p."day" >= CAST('2023-11-14' AS DATE);

-- labels
SELECT
  p."prediction_id" AS "prediction_id",
  p."at" AS "at",
  p."prediction" AS "prediction",
  l.label AS "label",
  l.label_at AS "label_at"
FROM "sales"."predictions" AS p
LEFT JOIN (
  SELECT DISTINCT ON (l."prediction_id")
    l."prediction_id" AS driftd_id,
    l."label" AS label,
    COALESCE(l."label_at", l."received_at") AS label_at
  FROM "sales"."labels" AS l
  WHERE
    l."prediction_id" IN (
      SELECT
        p."prediction_id"
      FROM "sales"."predictions" AS p
      WHERE
        p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
        AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
        AND p."day" <= CAST('2023-11-17' AS DATE)
        AND p."day" >= CAST('2023-11-14' AS DATE)
    )
    AND NOT l."label" IS NULL
    AND COALESCE(l."label_at", l."received_at") < CAST('2023-11-16 01:00:00.000001+00:00' AS TIMESTAMPTZ)
  ORDER BY
    l."prediction_id",
    COALESCE(l."label_at", l."received_at") DESC NULLS LAST,
    l."received_at" DESC NULLS LAST,
    l."label" COLLATE "C" DESC
) AS l
  ON l.driftd_id = p."prediction_id"
WHERE
  p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
  AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
  AND p."day" <= CAST('2023-11-17' AS DATE)
  AND p."day" >= CAST('2023-11-14' AS DATE);

-- bins
WITH v AS (
  SELECT
    CAST(CAST(p."price" AS VARCHAR) AS DOUBLE PRECISION) AS x0,
    p."Größe" AS x1,
    CAST(EXTRACT(EPOCH FROM p."at") AS DOUBLE PRECISION) - CAST(EXTRACT(EPOCH FROM p."joined") AS DOUBLE PRECISION) AS x3,
    CASE WHEN p."score" >= 0 AND p."score" <= 1 THEN p."score" END AS x5
  FROM "sales"."predictions" AS p
  WHERE
    p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."day" <= CAST('2023-11-17' AS DATE)
    AND p."day" >= CAST('2023-11-14' AS DATE)
), w AS (
  SELECT
    CASE
      WHEN x0 < -1.7976931348623157e+308
      THEN 0
      WHEN x0 < -43.875e0
      THEN 1
      WHEN x0 < 0.0e0
      THEN 2
      WHEN x0 < 1.625e0
      THEN 3
      WHEN x0 < 3.25e0
      THEN 4
      WHEN x0 < 4.875000000000001e0
      THEN 5
      WHEN x0 < 48.75e0
      THEN 6
      WHEN x0 <= 1.7976931348623157e+308
      THEN 7
      WHEN x0 = CAST('Infinity' AS DOUBLE PRECISION)
      THEN 8
      ELSE 9
    END AS c0,
    CASE
      WHEN x1 < -1.7976931348623157e+308
      THEN 0
      WHEN x1 < -9.0e0
      THEN 1
      WHEN x1 < 0.0e0
      THEN 2
      WHEN x1 < 1.0e0
      THEN 3
      WHEN x1 < 1.0000000000000002e0
      THEN 4
      WHEN x1 < 10.0e0
      THEN 5
      WHEN x1 <= 1.7976931348623157e+308
      THEN 6
      WHEN x1 = CAST('Infinity' AS DOUBLE PRECISION)
      THEN 7
      ELSE 8
    END AS c1,
    CASE
      WHEN x3 < -1.7976931348623157e+308
      THEN 0
      WHEN x3 < -30326400.0e0
      THEN 1
      WHEN x3 < 0.0e0
      THEN 2
      WHEN x3 < 1123200.0e0
      THEN 3
      WHEN x3 < 2246400.0e0
      THEN 4
      WHEN x3 < 3369600.0000000005e0
      THEN 5
      WHEN x3 < 33696000.0e0
      THEN 6
      WHEN x3 <= 1.7976931348623157e+308
      THEN 7
      WHEN x3 = CAST('Infinity' AS DOUBLE PRECISION)
      THEN 8
      ELSE 9
    END AS c3,
    CASE
      WHEN x5 < -1.7976931348623157e+308
      THEN 0
      WHEN x5 < -3.5100000000000002e0
      THEN 1
      WHEN x5 < 0.0e0
      THEN 2
      WHEN x5 < 0.13e0
      THEN 3
      WHEN x5 < 0.26e0
      THEN 4
      WHEN x5 < 0.39000000000000007e0
      THEN 5
      WHEN x5 < 3.9000000000000004e0
      THEN 6
      WHEN x5 <= 1.7976931348623157e+308
      THEN 7
      WHEN x5 = CAST('Infinity' AS DOUBLE PRECISION)
      THEN 8
      ELSE 9
    END AS c5
  FROM v
)
SELECT
  0 AS place,
  c0 AS bin,
  COUNT(*) AS n
FROM w
GROUP BY
  c0
UNION ALL
SELECT
  1 AS place,
  c1 AS bin,
  COUNT(*) AS n
FROM w
GROUP BY
  c1
UNION ALL
SELECT
  3 AS place,
  c3 AS bin,
  COUNT(*) AS n
FROM w
GROUP BY
  c3
UNION ALL
SELECT
  5 AS place,
  c5 AS bin,
  COUNT(*) AS n
FROM w
GROUP BY
  c5;

-- words
WITH w AS (
  SELECT
    p."city" AS w2,
    p."prediction" AS w4
  FROM "sales"."predictions" AS p
  WHERE
    p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."day" <= CAST('2023-11-17' AS DATE)
    AND p."day" >= CAST('2023-11-14' AS DATE)
)
SELECT
  place,
  word,
  n
FROM (
  SELECT
    2 AS place,
    w2 AS word,
    COUNT(*) AS n
  FROM w
  GROUP BY
    w2
  UNION ALL
  SELECT
    4 AS place,
    w4 AS word,
    COUNT(*) AS n
  FROM w
  GROUP BY
    w4
) AS u
LIMIT 100001;

-- summary
WITH w AS (
  SELECT
    p."at" AS driftd_at,
    CAST(CAST(p."price" AS VARCHAR) AS DOUBLE PRECISION) AS x0,
    p."Größe" AS x1,
    CAST(EXTRACT(EPOCH FROM p."at") AS DOUBLE PRECISION) - CAST(EXTRACT(EPOCH FROM p."joined") AS DOUBLE PRECISION) AS x3,
    CASE WHEN p."score" >= 0 AND p."score" <= 1 THEN p."score" END AS x5,
    CASE
      WHEN p."score" < 0
      OR (
        p."score" > 1 AND p."score" <= CAST('Infinity' AS DOUBLE PRECISION)
      )
      THEN 1
      ELSE 0
    END AS f5
  FROM "sales"."predictions" AS p
  WHERE
    p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."day" <= CAST('2023-11-17' AS DATE)
    AND p."day" >= CAST('2023-11-14' AS DATE)
)
SELECT
  COUNT(*) AS n,
  MIN(w.driftd_at) AS first_at,
  MAX(w.driftd_at) AS last_at,
  AVG(
    CASE
      WHEN x0 >= -1.7976931348623157e+308 AND x0 <= 1.7976931348623157e+308
      THEN CASE WHEN x0 < -1e+140 THEN -1e+140 WHEN x0 > 1e+140 THEN 1e+140 ELSE x0 END
    END
  ) AS m0,
  VAR_POP(
    CASE
      WHEN x0 >= -1.7976931348623157e+308 AND x0 <= 1.7976931348623157e+308
      THEN CASE WHEN x0 < -1e+140 THEN -1e+140 WHEN x0 > 1e+140 THEN 1e+140 ELSE x0 END
    END
  ) AS v0,
  MIN(
    CASE
      WHEN x0 >= -1.7976931348623157e+308 AND x0 <= 1.7976931348623157e+308
      THEN x0
    END
  ) AS l0,
  MAX(
    CASE
      WHEN x0 >= -1.7976931348623157e+308 AND x0 <= 1.7976931348623157e+308
      THEN x0
    END
  ) AS h0,
  AVG(
    CASE
      WHEN x1 >= -1.7976931348623157e+308 AND x1 <= 1.7976931348623157e+308
      THEN CASE WHEN x1 < -1e+140 THEN -1e+140 WHEN x1 > 1e+140 THEN 1e+140 ELSE x1 END
    END
  ) AS m1,
  VAR_POP(
    CASE
      WHEN x1 >= -1.7976931348623157e+308 AND x1 <= 1.7976931348623157e+308
      THEN CASE WHEN x1 < -1e+140 THEN -1e+140 WHEN x1 > 1e+140 THEN 1e+140 ELSE x1 END
    END
  ) AS v1,
  MIN(
    CASE
      WHEN x1 >= -1.7976931348623157e+308 AND x1 <= 1.7976931348623157e+308
      THEN x1
    END
  ) AS l1,
  MAX(
    CASE
      WHEN x1 >= -1.7976931348623157e+308 AND x1 <= 1.7976931348623157e+308
      THEN x1
    END
  ) AS h1,
  AVG(
    CASE
      WHEN x3 >= -1.7976931348623157e+308 AND x3 <= 1.7976931348623157e+308
      THEN CASE WHEN x3 < -1e+140 THEN -1e+140 WHEN x3 > 1e+140 THEN 1e+140 ELSE x3 END
    END
  ) AS m3,
  VAR_POP(
    CASE
      WHEN x3 >= -1.7976931348623157e+308 AND x3 <= 1.7976931348623157e+308
      THEN CASE WHEN x3 < -1e+140 THEN -1e+140 WHEN x3 > 1e+140 THEN 1e+140 ELSE x3 END
    END
  ) AS v3,
  MIN(
    CASE
      WHEN x3 >= -1.7976931348623157e+308 AND x3 <= 1.7976931348623157e+308
      THEN x3
    END
  ) AS l3,
  MAX(
    CASE
      WHEN x3 >= -1.7976931348623157e+308 AND x3 <= 1.7976931348623157e+308
      THEN x3
    END
  ) AS h3,
  AVG(
    CASE
      WHEN x5 >= -1.7976931348623157e+308 AND x5 <= 1.7976931348623157e+308
      THEN CASE WHEN x5 < -1e+140 THEN -1e+140 WHEN x5 > 1e+140 THEN 1e+140 ELSE x5 END
    END
  ) AS m5,
  VAR_POP(
    CASE
      WHEN x5 >= -1.7976931348623157e+308 AND x5 <= 1.7976931348623157e+308
      THEN CASE WHEN x5 < -1e+140 THEN -1e+140 WHEN x5 > 1e+140 THEN 1e+140 ELSE x5 END
    END
  ) AS v5,
  MIN(
    CASE
      WHEN x5 >= -1.7976931348623157e+308 AND x5 <= 1.7976931348623157e+308
      THEN x5
    END
  ) AS l5,
  MAX(
    CASE
      WHEN x5 >= -1.7976931348623157e+308 AND x5 <= 1.7976931348623157e+308
      THEN x5
    END
  ) AS h5,
  SUM(f5) AS f5
FROM w;

-- versions
WITH w AS (
  SELECT
    p."version" AS version,
    CASE
      WHEN CAST(EXTRACT(EPOCH FROM p."at") AS DOUBLE PRECISION) < 1700006460.0e0
      THEN 1
      ELSE 0
    END AS early
  FROM "sales"."predictions" AS p
  WHERE
    p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."day" <= CAST('2023-11-17' AS DATE)
    AND p."day" >= CAST('2023-11-14' AS DATE)
)
SELECT
  version,
  early,
  COUNT(*) AS n
FROM w
GROUP BY
  version,
  early;

-- pairs
WITH v AS (
  SELECT
    CAST(CAST(p."price" AS VARCHAR) AS DOUBLE PRECISION) AS x0,
    p."Größe" AS x1,
    CAST(EXTRACT(EPOCH FROM p."at") AS DOUBLE PRECISION) - CAST(EXTRACT(EPOCH FROM p."joined") AS DOUBLE PRECISION) AS x3
  FROM "sales"."predictions" AS p
  WHERE
    p."at" >= CAST('2023-11-15 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."at" < CAST('2023-11-16 00:00:00.000000+00:00' AS TIMESTAMPTZ)
    AND p."day" <= CAST('2023-11-17' AS DATE)
    AND p."day" >= CAST('2023-11-14' AS DATE)
), w AS (
  SELECT
    CASE
      WHEN x0 < -1.7976931348623157e+308
      THEN 0
      WHEN x0 < -43.875e0
      THEN 1
      WHEN x0 < 0.0e0
      THEN 2
      WHEN x0 < 1.625e0
      THEN 3
      WHEN x0 < 3.25e0
      THEN 4
      WHEN x0 < 4.875000000000001e0
      THEN 5
      WHEN x0 < 48.75e0
      THEN 6
      WHEN x0 <= 1.7976931348623157e+308
      THEN 7
      WHEN x0 = CAST('Infinity' AS DOUBLE PRECISION)
      THEN 8
      ELSE 9
    END AS c0,
    CASE
      WHEN x1 < -1.7976931348623157e+308
      THEN 0
      WHEN x1 < -9.0e0
      THEN 1
      WHEN x1 < 0.0e0
      THEN 2
      WHEN x1 < 1.0e0
      THEN 3
      WHEN x1 < 1.0000000000000002e0
      THEN 4
      WHEN x1 < 10.0e0
      THEN 5
      WHEN x1 <= 1.7976931348623157e+308
      THEN 6
      WHEN x1 = CAST('Infinity' AS DOUBLE PRECISION)
      THEN 7
      ELSE 8
    END AS c1,
    CASE
      WHEN x3 < -1.7976931348623157e+308
      THEN 0
      WHEN x3 < -30326400.0e0
      THEN 1
      WHEN x3 < 0.0e0
      THEN 2
      WHEN x3 < 1123200.0e0
      THEN 3
      WHEN x3 < 2246400.0e0
      THEN 4
      WHEN x3 < 3369600.0000000005e0
      THEN 5
      WHEN x3 < 33696000.0e0
      THEN 6
      WHEN x3 <= 1.7976931348623157e+308
      THEN 7
      WHEN x3 = CAST('Infinity' AS DOUBLE PRECISION)
      THEN 8
      ELSE 9
    END AS c3
  FROM v
), s AS (
  SELECT
    CASE c0
      WHEN 0
      THEN -4829
      WHEN 1
      THEN -4829
      WHEN 2
      THEN -4829
      WHEN 3
      THEN -1275
      WHEN 4
      THEN -37
      WHEN 5
      THEN 1218
      WHEN 6
      THEN 4837
      WHEN 7
      THEN 4837
      WHEN 8
      THEN 4837
      ELSE 0
    END AS s0,
    CASE c1
      WHEN 0
      THEN -5646
      WHEN 1
      THEN -5646
      WHEN 2
      THEN -5646
      WHEN 3
      THEN -1024
      WHEN 4
      THEN 1024
      WHEN 5
      THEN 5646
      WHEN 6
      THEN 5646
      WHEN 7
      THEN 5646
      ELSE 0
    END AS s1,
    CASE c3
      WHEN 0
      THEN -4829
      WHEN 1
      THEN -4829
      WHEN 2
      THEN -4829
      WHEN 3
      THEN -1275
      WHEN 4
      THEN -37
      WHEN 5
      THEN 1218
      WHEN 6
      THEN 4837
      WHEN 7
      THEN 4837
      WHEN 8
      THEN 4837
      ELSE 0
    END AS s3
  FROM w
)
SELECT
  COUNT(*) AS n,
  CAST(SUM(s0) AS BIGINT) AS s0,
  CAST(SUM(s1) AS BIGINT) AS s1,
  CAST(SUM(s3) AS BIGINT) AS s3,
  CAST(SUM(s0 * s0) AS BIGINT) AS s0_0,
  CAST(SUM(s0 * s1) AS BIGINT) AS s0_1,
  CAST(SUM(s0 * s3) AS BIGINT) AS s0_3,
  CAST(SUM(s1 * s1) AS BIGINT) AS s1_1,
  CAST(SUM(s1 * s3) AS BIGINT) AS s1_3,
  CAST(SUM(s3 * s3) AS BIGINT) AS s3_3
FROM s;

